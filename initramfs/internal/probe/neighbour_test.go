package probe

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/nettest"
)

// A card hears the switch at the other end of its cable.
func TestNeighbour(t *testing.T) {
	if !nettest.Alone(t, "link add switch0 type veth peer name card0", "link set switch0 up", "link set card0 up") {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sender, err := net.InterfaceByName("switch0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: sender.Index, Halen: 6, Addr: [8]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e}, Protocol: binary.NativeEndian.Uint16([]byte{0x88, 0xcc})}
	go func() {
		for ctx.Err() == nil { // until somebody listens
			unix.Sendto(fd, []byte("no LLDP"), 0, to)
			unix.Sendto(fd, []byte(tlv(1, "\x07sw1")+tlv(2, "\x07Gi1/0/7")+tlv(3, "\x00\x78")+tlv(0, "")), 0, to)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if got, err := Neighbour(ctx, "card0"); err != nil || got != (Port{"sw1", "Gi1/0/7"}) {
		t.Errorf("Neighbour = %+v, %v; want port Gi1/0/7 of sw1", got, err)
	}
	cancel()
	if got, err := Neighbour(ctx, "card0"); err == nil {
		t.Errorf("Neighbour after a stop = %+v; want an error", got)
	}
}
