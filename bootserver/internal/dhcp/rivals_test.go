package dhcp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
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
