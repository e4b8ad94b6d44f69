package dhcp6

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"swarmboot/bootserver/internal/dhcp"
)

// router is the relay next to the server.
var router = netip.MustParseAddrPort("[fd77::fe]:547")

// forward is what a relay makes of a message.
func forward(m dhcpv6.DHCPv6, hops uint8, link, peer netip.Addr, options ...dhcpv6.Option) *dhcpv6.RelayMessage {
	r := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, HopCount: hops, LinkAddr: link.AsSlice(), PeerAddr: peer.AsSlice()}
	r.AddOption(dhcpv6.OptRelayMessage(m))
	for _, o := range options {
		r.AddOption(o)
	}
	return r
}

// fromAnnex is m through the annex's router, on its port ge-0/0/1.
func fromAnnex(m dhcpv6.DHCPv6) *dhcpv6.RelayMessage {
	return forward(m, 0, netip.MustParseAddr("fd78::1"), from(m1), dhcpv6.OptInterfaceID([]byte("ge-0/0/1")))
}

// twoRelays is m through a switch that has no address in the machine's network
// (RFC 6221), then through the annex's router, which answers on a port of its own
// choice (RFC 8357).
func twoRelays(m dhcpv6.DHCPv6) *dhcpv6.RelayMessage {
	inner := forward(m, 0, netip.IPv6Unspecified(), from(m1), dhcpv6.OptInterfaceID([]byte("port 7")))
	return forward(inner, 1, netip.MustParseAddr("fd78::1"), netip.MustParseAddr("fe80::7"), dhcpv6.OptRelayPort(0))
}

func relay(t testing.TB, s *Server, by func(dhcpv6.DHCPv6) *dhcpv6.RelayMessage, m *dhcpv6.Message) reply {
	t.Helper()
	r := s.handle(t.Context(), by(m).ToBytes(), router, "eth1")
	if r.packet != nil {
		r.sent()
	}
	return r
}

// unwrapped reads an answer as the relays do, and says which ports they hand it to.
func unwrapped(t testing.TB, packet dhcpv6.DHCPv6) (m *dhcpv6.Message, ports []string) {
	t.Helper()
	packet, err := dhcpv6.FromBytes(packet.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	for packet.IsRelay() {
		hop := packet.(*dhcpv6.RelayMessage)
		if hop.MessageType != dhcpv6.MessageTypeRelayReply {
			t.Fatalf("a relay is told %v; want a RELAY-REPL", hop)
		}
		ports = append(ports, string(hop.Options.InterfaceID()))
		packet = hop.Options.RelayMessage()
	}
	return packet.(*dhcpv6.Message), ports
}

func TestRelayed(t *testing.T) {
	s := newServer(t)
	server := dhcpv6.OptServerID(annex.duid())
	r := relay(t, s, fromAnnex, message(t, dhcpv6.MessageTypeRequest, server))
	if r.packet == nil {
		t.Fatal("a machine behind a relay was not answered")
	}
	m, ports := unwrapped(t, r.packet)
	a := given(m)
	if a.Less(annex.First) || annex.Last.Less(a) {
		t.Errorf("it gets %s; want an address of the annex's pool", a)
	}
	if !slices.Equal(ports, []string{"ge-0/0/1"}) || r.to != router {
		t.Errorf("the answer goes to %s, for ports %q; want %s and ge-0/0/1", r.to, ports, router)
	}
	if mac, ok := s.Owner(a); !ok || mac != m1 {
		t.Errorf("Owner(%s) = %v, %v; want %s", a, mac, ok, m1)
	}

	r = s.handle(t.Context(), twoRelays(message(t, dhcpv6.MessageTypeRequest, server)).ToBytes(), netip.AddrPortFrom(router.Addr(), 40547), "eth1")
	if r.packet == nil {
		t.Fatal("a machine behind two relays was not answered")
	}
	m, ports = unwrapped(t, r.packet)
	if got := given(m); got != a {
		t.Errorf("behind two relays the machine gets %s; want %s again", got, a)
	}
	outer := r.packet.(*dhcpv6.RelayMessage)
	if !slices.Equal(ports, []string{"", "port 7"}) || outer.HopCount != 1 || outer.Options.RelayPort() == nil || r.to.Port() != 40547 {
		t.Errorf("the answer to two relays = %v to %s, for ports %q; want port 7 and, at the router, 40547", outer, r.to, ports)
	}
}

// TestRelayNamesTheMachine: its link-local address may tell nothing, as one with
// privacy extensions; the relay has seen the card.
func TestRelayNamesTheMachine(t *testing.T) {
	s := newServer(t)
	by := func(m dhcpv6.DHCPv6) *dhcpv6.RelayMessage {
		return forward(m, 0, netip.MustParseAddr("fd78::1"), netip.MustParseAddr("fe80::1234"), dhcpv6.OptClientLinkLayerAddress(iana.HWTypeEthernet, net.HardwareAddr(m2[:])))
	}
	if r := relay(t, s, by, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(annex.duid()))); r.packet == nil {
		t.Fatal("no answer")
	} else if m, _ := unwrapped(t, r.packet); !given(m).IsValid() {
		t.Errorf("no address in %v", m)
	} else if mac, _ := s.Owner(given(m)); mac != m2 {
		t.Errorf("the address is %s's; want %s's", mac, m2)
	}
}

func TestRelaysThatGetNoAnswer(t *testing.T) {
	s, solicit := newServer(t), message(t, dhcpv6.MessageTypeSolicit)
	endless := dhcpv6.DHCPv6(solicit)
	for range maxHops + 1 {
		endless = forward(endless, 0, netip.MustParseAddr("fd78::1"), from(m1))
	}
	answered := fromAnnex(solicit)
	answered.MessageType = dhcpv6.MessageTypeRelayReply
	stranger := dhcp.MAC{2}
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	for name, packet := range map[string]dhcpv6.DHCPv6{
		"a network that is not in the config": forward(solicit, 0, netip.MustParseAddr("fd79::1"), from(m1)),
		"more relays than there may be":       endless,
		"an answer of another server":         answered,
		"nothing inside":                      &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward},
		"a machine that is not in the config": forward(solicit, 0, netip.MustParseAddr("fd78::1"), from(stranger)),
	} {
		if r := s.handle(t.Context(), packet.ToBytes(), router, "eth1"); r.packet != nil {
			t.Errorf("%s was answered with %v", name, r.packet)
		}
	}
	if n := strings.Count(log.String(), "it asks for the network of fd79::1; add it under networks"); n != 1 {
		t.Errorf("the log names the relay %d times; want once:\n%s", n, &log)
	}
}
