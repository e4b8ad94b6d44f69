package dhcp6

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"swarmboot/initramfs/nettest"
)

// TestAnInterfaceReturns: machines are answered again without a restart.
func TestAnInterfaceReturns(t *testing.T) {
	cable := []string{
		"link add eth1 type veth peer name far", "link set far addrgenmode none", "link set eth1 up", "link set far up",
		"addr add " + from(m1).String() + "/64 dev far nodad",
	}
	if !nettest.Alone(t, cable...) {
		return
	}
	s := newServer(t)
	ctx, stop := context.WithCancel(t.Context())
	conn, err := Listen(ctx, "eth1")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, conn, "eth1") }()
	solicitOverWire(t)
	for _, command := range append([]string{"link del eth1"}, cable...) {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", command, err, out)
		}
	}
	solicitOverWire(t)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// solicitOverWire asks until there is an answer, as machines do.
func solicitOverWire(t *testing.T) {
	t.Helper()
	far, err := net.InterfaceByName("far")
	if err != nil {
		t.Fatal(err)
	}
	zone := strconv.Itoa(far.Index) // for its name package net would remember the one before
	machine, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from(m1).WithZone(zone), 546)))
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	buf := make([]byte, 1500)
	for range 60 {
		if _, err := machine.WriteToUDPAddrPort(message(t, dhcpv6.MessageTypeSolicit).ToBytes(), netip.AddrPortFrom(relaysAndServers.WithZone(zone), serverPort)); err != nil {
			t.Fatal(err)
		}
		machine.SetReadDeadline(time.Now().Add(time.Second))
		n, _, err := machine.ReadFromUDPAddrPort(buf)
		if err != nil {
			continue
		}
		if reply, err := dhcpv6.MessageFromBytes(buf[:n]); err != nil || reply.MessageType != dhcpv6.MessageTypeAdvertise {
			t.Fatalf("answer to SOLICIT = %v, %v", reply, err)
		}
		return
	}
	t.Fatal("no answer to SOLICIT")
}
