package dhcp

import (
	"bytes"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"swarmboot/bootserver/internal/leasestore"
)

// chooser is a Chooser that knows no machine but OVMF's.
type chooser struct{ answered []string }

func (c *chooser) Choose(client Client) (Boot, error) {
	if client.MAC != (MAC{0x52, 0x54, 0, 0x77, 0, 2}) {
		return Boot{}, ErrDenied
	}
	return Boot{Name: "m2", File: "snponly.efi"}, nil
}

func (c *chooser) Answered(client Client, address netip.Addr) {
	c.answered = append(c.answered, string(client.Program)+" "+address.String())
}

func newServer(t testing.TB) (*Server, *chooser, *bytes.Buffer) {
	t.Helper()
	var text bytes.Buffer
	c := &chooser{}
	n := lab
	n.First, n.Last = address(100), address(110)
	log := slog.New(slog.NewTextHandler(&text, nil))
	s, err := New(Config{Networks: []Network{n}, Leases: openStore(t, log), Log: log}, c)
	if err != nil {
		t.Fatal(err)
	}
	return s, c, &text
}

func openStore(t testing.TB, log *slog.Logger) leasestore.Store {
	t.Helper()
	st, err := leasestore.Open(filepath.Join(t.TempDir(), "leases.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func logTo(x *text) *slog.Logger {
	return slog.New(slog.NewTextHandler(x, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// local is how a machine's first packets arrive.
var local = arrival{ifname: "lab0", source: netip.MustParseAddrPort("0.0.0.0:68"), broadcast: true, port: serverPort}

func ask(t testing.TB, s *Server, packet []byte) (reply *dhcpv4.DHCPv4, done func()) {
	t.Helper()
	v := s.handled(t.Context(), packet, local)
	return v.reply, v.done
}

// changed reads a captured packet and lets edit change it.
func changed(t *testing.T, name string, edit func(*dhcpv4.DHCPv4)) []byte {
	t.Helper()
	p, err := dhcpv4.FromBytes(readHex(t, name))
	if err != nil {
		t.Fatal(err)
	}
	edit(p)
	return p.ToBytes()
}

func TestDiscoverRequestRenew(t *testing.T) {
	s, c, _ := newServer(t)
	offer, done := ask(t, s, readHex(t, "ovmf-2022.11.discover.hex"))
	if offer == nil || offer.MessageType() != dhcpv4.MessageTypeOffer {
		t.Fatalf("answer to DISCOVER = %v; want an OFFER", offer)
	}
	done()
	given := addr(offer.YourIPAddr)
	request := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(given))) })
	ack, done := ask(t, s, request)
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck || addr(ack.YourIPAddr) != given || ack.IPAddressLeaseTime(0) != 24*time.Hour {
		t.Fatalf("answer to REQUEST = %v; want an ACK of %s", ack, given)
	}
	done()
	if want := "firmware " + given.String(); strings.Join(c.answered, ",") != want+","+want {
		t.Errorf("chooser was told %v; want %q twice", c.answered, want)
	}
	if owner, ok := s.Owner(given); !ok || owner.String() != "52:54:00:77:00:02" {
		t.Errorf("Owner(%s) = %s, %v", given, owner, ok)
	}

	renew := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) {
		p.Options.Del(dhcpv4.OptionServerIdentifier)
		p.Options.Del(dhcpv4.OptionRequestedIPAddress)
		p.ClientIPAddr = ip(given)
	})
	if ack, _ := ask(t, s, renew); ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("answer to a renewal = %v; want an ACK", ack)
	}
	reboot := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) {
		p.Options.Del(dhcpv4.OptionServerIdentifier)
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(netip.MustParseAddr("192.168.1.5"))))
	})
	if nak, _ := ask(t, s, reboot); nak == nil || nak.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("answer to a machine from another network = %v; want a NAK", nak)
	}
	inform := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) {
		p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeInform))
		p.ClientIPAddr = ip(given)
	})
	if ack, _ := ask(t, s, inform); ack == nil || addr(ack.YourIPAddr).IsValid() || ack.IPAddressLeaseTime(0) != 0 {
		t.Errorf("answer to INFORM = %v; want an ACK without address and lease", ack)
	}
}

func TestUnknownMachinesAreNamedOnce(t *testing.T) {
	s, _, text := newServer(t)
	for range 3 {
		if reply, _ := ask(t, s, readHex(t, "qemu-ipxe-rom-1.0.0.discover.hex")); reply != nil {
			t.Fatalf("unknown machine got %v", reply)
		}
	}
	if got := strings.Count(text.String(), "machine=52:54:00:77:00:01"); got != 1 {
		t.Errorf("the machine was named %d times; want once\n%s", got, text)
	}
}

func TestOtherServersAndNetworksAreLeftAlone(t *testing.T) {
	s, _, _ := newServer(t)
	other := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptServerIdentifier(ip(address(2)))) })
	if reply, _ := ask(t, s, other); reply != nil {
		t.Errorf("request to another server was answered with %v", reply)
	}
	relayed := changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) { p.GatewayIPAddr = ip(netip.MustParseAddr("10.78.0.1")) })
	if reply, _ := ask(t, s, relayed); reply != nil {
		t.Errorf("request from another network was answered with %v", reply)
	}
	relayed = changed(t, "ovmf-2022.11.discover.hex", func(p *dhcpv4.DHCPv4) {
		p.GatewayIPAddr = ip(address(3))
		p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 2, 'p', '7'}))
	})
	reply, _ := ask(t, s, relayed)
	if reply == nil || string(reply.Options.Get(dhcpv4.OptionRelayAgentInformation)) != "\x01\x02p7" || addr(reply.GatewayIPAddr) != address(3) {
		t.Errorf("answer to a relay = %v; want option 82 back and the relay back", reply)
	}
}

// What cannot be written must not be promised: after a restart the address could
// go to another machine.
func TestNoACKBeforeTheLeaseIsOnDisk(t *testing.T) {
	s, _, text := newServer(t)
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	request := changed(t, "ovmf-2022.11.request.hex", func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(address(105)))) })
	if reply, _ := ask(t, s, request); reply != nil {
		t.Errorf("answer without a lease file = %v; want none", reply)
	}
	if !strings.Contains(text.String(), "leases cannot be stored") {
		t.Errorf("log lacks the reason:\n%s", text)
	}
}

func FuzzHandle(f *testing.F) {
	for _, name := range []string{"qemu-ipxe-rom-1.0.0.discover.hex", "ipxe-1.21.1-undionly.discover.hex", "ovmf-2022.11.discover.hex", "ovmf-2022.11.request.hex", "ipxe-1.21.1-snponly.request.hex"} {
		f.Add(readHex(f, name))
	}
	s, _, _ := newServer(f)
	s.log = slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, done := ask(t, s, data)
		if reply == nil {
			return
		}
		if done != nil {
			done()
		}
		if n := len(reply.ToBytes()); n > maxMessage {
			t.Errorf("answer of %d bytes", n)
		}
		if _, err := dhcpv4.FromBytes(reply.ToBytes()); err != nil {
			t.Errorf("answer cannot be read: %v", err)
		}
	})
}
