package dhcp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
)

// offerOf is an offer of another server.
func offerOf(t *testing.T, server netip.Addr, file string) []byte {
	t.Helper()
	p, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer))
	if err != nil {
		t.Fatal(err)
	}
	p.OpCode, p.BootFileName = dhcpv4.OpcodeBootReply, file
	p.UpdateOption(dhcpv4.OptServerIdentifier(ip(server)))
	return p.ToBytes()
}

func TestRivals(t *testing.T) {
	for _, c := range []struct {
		mode Mode
		from netip.Addr
		file string
		want string // words of the log; empty: no warning
	}{
		{Full, address(2), "", "another DHCP server answers here; machines may get address and boot file from it"},
		{Full, lab.Server, "", ""}, // our own reply, by way of a relay
		{Proxy, address(2), "", ""},
		{Proxy, address(2), "rogue.efi", "names a boot file too"},
		{Reservations, address(2), "", ""},
	} {
		s, log := serverWith(t, c.mode)
		n := (*s.networks.Load())[0]
		for range 3 {
			s.overheardReply(n, offerOf(t, c.from, c.file), c.from, m2)
		}
		s.overheardReply(n, readHex(t, "ovmf-2022.11.discover.hex"), c.from, m2) // no reply
		s.overheardReply(n, []byte("no DHCP"), c.from, m2)
		warned := strings.Count(log.String(), "level=WARN")
		if want := min(1, len(c.want)); warned != want || !strings.Contains(log.String(), c.want) {
			t.Errorf("%s, server %s with file %q: %d warnings; want %d with %q\n%s", c.mode, c.from, c.file, warned, want, c.want, log)
		}
		if c.want != "" && !strings.Contains(log.String(), "mac="+m2.String()) {
			t.Errorf("the warning does not name the card:\n%s", log)
		}
	}
}

func TestOurOwnQuestionIsNotAnswered(t *testing.T) {
	s, _ := serverWith(t, Full)
	own := changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) { p.TransactionID = s.rivals.xid })
	if v := s.handled(t.Context(), own, local); v.reply != nil {
		t.Errorf("answer to our own DISCOVER: %s", v.reply.Summary())
	}
}

func TestFilterLetsRepliesIn(t *testing.T) {
	packet := func(from, to uint16) []byte {
		return datagram{netip.AddrPortFrom(address(2), from), netip.AddrPortFrom(everyone.Addr(), to), []byte("payload")}.packet()
	}
	fragment, tcp := packet(67, 68), packet(67, 68)
	fragment[7], tcp[9] = 1, 6
	for _, c := range []struct {
		story     string
		packet    []byte
		tap, want bool
	}{
		{"a reply", packet(67, 68), false, true},
		{"a reply, with tap", packet(67, 68), true, true},
		{"a request", packet(68, 67), false, false},
		{"a request, with tap", packet(68, 67), true, true},
		{"TFTP", packet(2000, 69), true, false},
		{"a later fragment", fragment, true, false},
		{"TCP", tcp, true, false},
	} {
		raw, err := frameFilter(c.tap)
		if err != nil {
			t.Fatal(err)
		}
		program, ok := bpf.Disassemble(raw)
		if !ok {
			t.Fatal("filter cannot be disassembled")
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := vm.Run(c.packet); err != nil || (n > 0) != c.want {
			t.Errorf("%s: filter takes %d bytes, %v; want in: %v", c.story, n, err, c.want)
		}
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add(datagram{netip.MustParseAddrPort("10.77.0.1:67"), netip.MustParseAddrPort("10.77.0.9:68"), []byte("payload")}.packet())
	f.Add([]byte{0x4f, 0, 0, 20})
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, ok := parseDatagram(data); ok && len(d.payload) > len(data)-28 {
			t.Errorf("payload of %d bytes in a packet of %d", len(d.payload), len(data))
		}
		arpSender(data)
	})
}

func FuzzRelayAgent(f *testing.F) {
	f.Add([]byte("\x01\x02p7\x05\x04\x0a\x63\x00\x00\x0b\x04\x0a\x58\x00\x01\x13\x00"), []byte{10, 77, 0, 0})
	f.Add([]byte("\x05\xff"), []byte{})
	f.Fuzz(func(t *testing.T, agent, selection []byte) {
		req, err := dhcpv4.New()
		if err != nil {
			t.Fatal(err)
		}
		req.GatewayIPAddr = ip(address(3))
		req.UpdateOption(dhcpv4.OptGeneric(agentInformation, agent))
		req.UpdateOption(dhcpv4.OptGeneric(subnetSelection, selection))
		if n, err := site().of(req, arrival{}); err == nil && n == nil {
			t.Error("neither network nor error")
		}
		if !identity(req, lab).IsValid() {
			t.Error("a server without a name")
		}
		reply, err := answer(req, Client{}, dhcpv4.MessageTypeOffer, lab, address(9), Boot{})
		if err != nil {
			return // too long
		}
		again, err := dhcpv4.FromBytes(reply.ToBytes())
		if err != nil || string(again.Options.Get(agentInformation)) != string(agent) {
			t.Errorf("option 82 comes back as %x, %v; want %x", again.Options.Get(agentInformation), err, agent)
		}
	})
}
