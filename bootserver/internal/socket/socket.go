// Package socket has what the sockets of dhcp, dhcp6 and tftp have in common.
package socket

import "golang.org/x/sys/unix"

// MakeRoom lets more packets wait in a socket: a hall that is powered on sends
// thousands at once, and the default loses a quarter of them. Where it may not, the
// socket stays as it is.
func MakeRoom(fd uintptr) {
	const bytes = 4 << 20
	if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	}
}
