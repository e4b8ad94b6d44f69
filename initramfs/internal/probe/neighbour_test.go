package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A card hears the switch at the other end of its cable.
func TestNeighbour(t *testing.T) {
	const inside = "SWARMBOOT_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		if _, err := exec.LookPath("ip"); err != nil {
			t.Skip("needs the command ip of package iproute2")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestNeighbour$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EACCES) {
			t.Skipf("needs user namespaces: %v", err)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for _, command := range []string{"ip link add switch0 type veth peer name card0", "ip link set switch0 up", "ip link set card0 up"} {
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
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
