package dhcp

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// pxeAt4011 is how a ROM's second question arrives.
var pxeAt4011 = arrival{ifname: "lab0", source: netip.MustParseAddrPort("10.77.0.9:4011"), port: pxePort}

func serverWith(t testing.TB, mode Mode) (*Server, *text) {
	t.Helper()
	n := lab
	n.Mode, n.First, n.Last = mode, address(100), address(110)
	log := &text{}
	s, err := New(Config{Networks: []Network{n}, Leases: openStore(t, logTo(log)), Log: logTo(log)}, everybody{map[MAC]string{{0x52, 0x54, 0, 0x77, 0, 2}: "m2"}})
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// handled is the verdict about a packet once its lease, if any, is on disk.
func (s *Server) handled(ctx context.Context, data []byte, from arrival) verdict {
	v := s.handle(data, from)
	if v.claim != nil {
		v = v.decide(v.claim.settle(ctx))
	}
	return v
}

// Rules 3 and 16 of PXE proxies: no address, the class, discovery control, the UUID.
func TestProxyOffersABootFileAndNoAddress(t *testing.T) {
	s, _ := serverWith(t, Proxy)
	for _, capture := range []string{"ovmf-2022.11.discover.hex", "ipxe-1.21.1-undionly.discover.hex", "qemu-ipxe-rom-1.0.0.discover.hex"} {
		v := s.handled(t.Context(), readHex(t, capture), local)
		if v.reply == nil {
			t.Errorf("no offer to %s", capture)
			continue
		}
		if addr(v.reply.YourIPAddr).IsValid() || v.reply.IPAddressLeaseTime(0) != 0 || v.reply.SubnetMask() != nil {
			t.Errorf("offer to %s gives an address: %s", capture, v.reply.Summary())
		}
		for code, want := range map[uint8]string{54: "\x0a\x4d\x00\x01", 60: "PXEClient", 43: "\x06\x01\x08\xff"} {
			if got := string(v.reply.Options[code]); got != want {
				t.Errorf("offer to %s: option %d = %q; want %q", capture, code, got, want)
			}
		}
		if v.route.to != everyone {
			t.Errorf("offer to %s goes to %s; want %s", capture, v.route.to, everyone)
		}
	}
	system := changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) {
		p.Options.Del(dhcpv4.OptionClassIdentifier)
		p.Options.Del(dhcpv4.OptionClientSystemArchitectureType)
	})
	if v := s.handled(t.Context(), system, local); v.reply != nil {
		t.Errorf("a system that wants an address got %s", v.reply.Summary())
	}
	request := readHex(t, "ovmf-2022.11.request.hex") // to the server that gives addresses
	if v := s.handled(t.Context(), request, local); v.reply != nil {
		t.Errorf("a REQUEST to the other server got %s", v.reply.Summary())
	}
}

func TestPort4011(t *testing.T) {
	for _, mode := range []Mode{Full, Proxy, Reservations} {
		s, _ := serverWith(t, mode)
		request := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) { p.ClientIPAddr = ip(address(9)) })
		v := s.handled(t.Context(), request, pxeAt4011)
		if v.reply == nil || v.reply.MessageType() != dhcpv4.MessageTypeAck || v.reply.BootFileName != "snponly.efi" || addr(v.reply.YourIPAddr).IsValid() {
			t.Fatalf("%s: answer on port 4011 = %v; want an ACK with a boot file and no address", mode, v.reply)
		}
		if v.route.to != pxeAt4011.source {
			t.Errorf("%s: answer goes to %s; want %s", mode, v.route.to, pxeAt4011.source)
		}
		for story, c := range map[string]struct {
			packet []byte
			from   arrival
		}{
			"a DISCOVER":                 {readHex(t, "ovmf-2022.11.discover.hex"), pxeAt4011},
			"a broadcast":                {request, arrival{ifname: "lab0", source: pxeAt4011.source, broadcast: true, port: pxePort}},
			"a sender without address":   {request, arrival{ifname: "lab0", source: local.source, port: pxePort}},
			"a wire that is not ours":    {request, arrival{ifname: "lab9", source: pxeAt4011.source, port: pxePort, broadcast: true}},
			"a system, not a boot agent": {changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) { delete(p.Options, 60); delete(p.Options, 93) }), pxeAt4011},
		} {
			if v := s.handled(t.Context(), c.packet, c.from); v.reply != nil {
				t.Errorf("%s: %s got an answer on port 4011: %s", mode, story, v.reply.Summary())
			}
		}
	}
}

func TestReservationsAnswerListedMachinesOnly(t *testing.T) {
	s, _ := serverWith(t, Reservations)
	if v := s.handled(t.Context(), readHex(t, "ovmf-2022.11.discover.hex"), local); v.reply == nil {
		t.Error("a listed machine got no offer")
	}
	strange := func(p *dhcpv4.DHCPv4) {
		p.ClientHWAddr = MAC{2, 9}.HardwareAddr()
		p.Options.Del(dhcpv4.OptionServerIdentifier)
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(netip.MustParseAddr("192.168.7.7"))))
	}
	for _, capture := range []string{"ovmf-2022.11.discover.hex", "ovmf-2022.11.request.hex"} {
		if v := s.handled(t.Context(), changed(t, capture, strange), local); v.reply != nil {
			t.Errorf("a machine that is not listed got %s", v.reply.Summary())
		}
	}
}

func TestOffIsSilent(t *testing.T) {
	s, log := serverWith(t, Off)
	if v := s.handled(t.Context(), readHex(t, "ovmf-2022.11.discover.hex"), local); v.reply != nil || strings.Contains(log.String(), "WARN") {
		t.Errorf("answer = %v, log %q; want none", v.reply, log)
	}
}

func TestRelayedRequestsForUnknownNetworksAreNamed(t *testing.T) {
	s, log := serverWith(t, Full)
	relayed := changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) { p.GatewayIPAddr = ip(netip.MustParseAddr("10.66.0.1")) })
	for range 3 {
		if v := s.handled(t.Context(), relayed, arrival{ifname: "lab0", source: netip.MustParseAddrPort("10.66.0.1:67"), port: serverPort}); v.reply != nil {
			t.Fatalf("answer = %s; want none", v.reply.Summary())
		}
	}
	if n := strings.Count(log.String(), "relay 10.66.0.1 asks for network 10.66.0.1, which is not in the config; add it under networks"); n != 1 {
		t.Errorf("the relay was named %d times; want once\n%s", n, log)
	}
}

func TestAnswerToARelay(t *testing.T) {
	s, _ := serverWith(t, Full)
	agent := "\x01\x02p7\x0b\x04\x0a\x4d\x00\x03\x13\x00" // circuit, server id, source port
	relayed := changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) {
		p.GatewayIPAddr = ip(address(3))
		p.UpdateOption(dhcpv4.OptGeneric(agentInformation, []byte(agent)))
		p.UpdateOption(dhcpv4.OptGeneric(subnetSelection, []byte{10, 77, 0, 0}))
	})
	v := s.handled(t.Context(), relayed, arrival{ifname: "lab0", source: netip.MustParseAddrPort("10.77.0.3:4097"), port: serverPort})
	if v.reply == nil {
		t.Fatal("no answer to a relay")
	}
	if got := string(v.reply.Options.Get(agentInformation)); got != agent {
		t.Errorf("option 82 = %q; want it back as it came, %q", got, agent)
	}
	if got := string(v.reply.Options.Get(subnetSelection)); got != "\x0a\x4d\x00\x00" {
		t.Errorf("option 118 = %q; want it back", got)
	}
	if got := addr(v.reply.ServerIdentifier()); got != address(3) {
		t.Errorf("server identifier = %s; want the relay's, 10.77.0.3 (RFC 5107)", got)
	}
	if got := addr(v.reply.ServerIPAddr); got != lab.Server {
		t.Errorf("next server = %s; want ours, %s", got, lab.Server)
	}
	if want := "10.77.0.3:4097"; v.route.to.String() != want {
		t.Errorf("answer goes to %s; want %s (RFC 8357)", v.route.to, want)
	}
	// The machine then names the relay as its server, and means us.
	request := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) {
		p.GatewayIPAddr = ip(address(3))
		p.UpdateOption(dhcpv4.OptGeneric(agentInformation, []byte(agent)))
		p.UpdateOption(dhcpv4.OptServerIdentifier(ip(address(3))))
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(v.reply.YourIPAddr))
	})
	if v := s.handled(t.Context(), request, arrival{ifname: "lab0", source: netip.MustParseAddrPort("10.77.0.3:67"), port: serverPort}); v.reply == nil || v.reply.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("answer to the REQUEST = %v; want an ACK", v.reply)
	}
}

func TestOptionsInHeaderFieldsAreRead(t *testing.T) {
	data := changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) {
		p.Options.Del(dhcpv4.OptionClassIdentifier)
		p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionOptionOverload, []byte{3}))
	})
	copy(data[108:], "\x3c\x09PXEClient\xff")               // file
	copy(data[44:], "\x4d\x04iPXE\xaf\x03\x13\x01\x01\xff") // sname
	_, client, err := parse(data)
	if err != nil || client.Program != IPXE {
		t.Errorf("parse = %+v, %v; want iPXE by the options in file and sname", client, err)
	}
	copy(data[44:], "\x4d\xf0cut")
	if _, client, err := parse(data); err == nil {
		t.Errorf("parse of options that are cut off = %+v; want an error", client)
	}
}

func TestRoutesHoldTheDefaultRoute(t *testing.T) {
	n := lab
	n.Domain, n.Routes = "rack.example", []Route{{netip.MustParsePrefix("10.99.0.0/16"), address(253)}}
	n.NTP, n.Log = []netip.Addr{address(54)}, []netip.Addr{address(55)}
	req, client, err := parse(readHex(t, "ovmf-2022.11.discover.hex"))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := answer(req, client, dhcpv4.MessageTypeOffer, n, address(100), Boot{File: "snponly.efi"})
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[uint8]string{
		121: "\x10\x0a\x63\x0a\x4d\x00\xfd" + "\x00\x0a\x4d\x00\xfe", // RFC 3442: then option 3 is not looked at
		3:   "\x0a\x4d\x00\xfe", 42: "\x0a\x4d\x00\x36", 7: "\x0a\x4d\x00\x37", 15: "rack.example", 119: "\x04rack\x07example\x00",
	} {
		if got := string(reply.Options[code]); got != want {
			t.Errorf("option %d = %q; want %q", code, got, want)
		}
	}
}
