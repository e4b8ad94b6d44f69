package dhcp6

import (
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/internal/leasestore"
)

var (
	m1, m2 = dhcp.MAC{0x52, 0x54, 0, 0x77, 0, 1}, dhcp.MAC{0x52, 0x54, 0, 0x77, 0, 2}
	first  = netip.MustParseAddr("fd77::100")
	last   = netip.MustParseAddr("fd77::103")
	own    = netip.MustParseAddr("fd77::11")
)

// chooser gives a loader to firmware and knows no other machines than ours.
type chooser struct{ answered []netip.Addr }

func (c *chooser) Choose(client dhcp.Client) (dhcp.Boot, error) {
	switch {
	case client.MAC[0] != 0x52:
		return dhcp.Boot{}, dhcp.ErrDenied
	case client.HTTP:
		return dhcp.Boot{File: "http://[fd77::1]/loaders/snponly.efi"}, nil
	case client.Program == dhcp.System:
		return dhcp.Boot{}, nil
	}
	return dhcp.Boot{File: "tftp://[fd77::1]/snponly.efi"}, nil
}

func (c *chooser) Answered(_ dhcp.Client, a netip.Addr) { c.answered = append(c.answered, a) }

func newServer(t testing.TB) *Server {
	t.Helper()
	store, err := leasestore.Open(filepath.Join(t.TempDir(), "leases.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return over(t, store)
}

func over(t testing.TB, store leasestore.Store) *Server {
	t.Helper()
	s, err := New(Network{
		Name: "hall", Interface: "eth1", Server: netip.MustParseAddr("fd77::1"), First: first, Last: last,
		Reserved: map[dhcp.MAC]netip.Addr{m2: own}, Lease: time.Hour,
		DNS: []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd77::53")},
	}, store, &chooser{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// from is the link-local address that firmware makes of a MAC.
func from(m dhcp.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// message is one of EDK2's: its DUID is its UUID.
func message(t testing.TB, kind dhcpv6.MessageType, options ...dhcpv6.Option) *dhcpv6.Message {
	t.Helper()
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDUUID{UUID: [16]byte{9}}))
	m.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{7}})
	m.AddOption(dhcpv6.OptClientArchType(iana.EFI_X86_64))
	for _, o := range options {
		m.AddOption(o)
	}
	return m
}

func ask(t testing.TB, s *Server, mac dhcp.MAC, m *dhcpv6.Message) *dhcpv6.Message {
	t.Helper()
	reply, done := s.handle(t.Context(), m.ToBytes(), from(mac))
	if reply == nil {
		return nil
	}
	done()
	back, err := dhcpv6.MessageFromBytes(reply.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func given(m *dhcpv6.Message) netip.Addr {
	if m == nil || m.Options.OneIANA() == nil || m.Options.OneIANA().Options.OneAddress() == nil {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(m.Options.OneIANA().Options.OneAddress().IPv6Addr)
	return a
}

// TestFirmwareGetsAddressAndLoader is one exchange of EDK2's PXEv6.
func TestFirmwareGetsAddressAndLoader(t *testing.T) {
	s := newServer(t)
	offer := ask(t, s, m1, message(t, dhcpv6.MessageTypeSolicit))
	a := given(offer)
	if offer.MessageType != dhcpv6.MessageTypeAdvertise || a.Less(first) || last.Less(a) {
		t.Fatalf("answer to SOLICIT = %v; want an address of the pool", offer)
	}
	if url := offer.Options.BootFileURL(); url != "tftp://[fd77::1]/snponly.efi" {
		t.Errorf("boot file URL = %q", url)
	}
	if _, ok := s.Owner(a); ok {
		t.Error("an address that was only offered has an owner")
	}
	reply := ask(t, s, m1, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(s.duid)))
	if reply == nil || reply.MessageType != dhcpv6.MessageTypeReply || given(reply) != a {
		t.Fatalf("answer to REQUEST = %v; want a reply with %s", reply, a)
	}
	if mac, ok := s.Owner(a); !ok || mac != m1 {
		t.Errorf("Owner(%s) = %v, %v; want %s", a, mac, ok, m1)
	}
	if dns := reply.Options.DNS(); len(dns) != 1 || dns[0].String() != "fd77::53" {
		t.Errorf("name servers %v; want the IPv6 one", dns)
	}
	// iPXE and the system come with another DUID, and have the same address.
	again := message(t, dhcpv6.MessageTypeSolicit)
	again.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr(m1[:])}))
	if got := given(ask(t, s, m1, again)); got != a {
		t.Errorf("with another DUID the machine gets %s; want %s", got, a)
	}
	// So it is after a restart.
	if got := given(ask(t, over(t, s.addresses.store), m1, message(t, dhcpv6.MessageTypeSolicit))); got != a {
		t.Errorf("after a restart the machine gets %s; want %s", got, a)
	}
}

func TestReservedAddress(t *testing.T) {
	s := newServer(t)
	if got := given(ask(t, s, m2, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(s.duid)))); got != own {
		t.Errorf("m2 gets %s; want its own, %s", got, own)
	}
}

// TestHTTPBootClassIsEchoed: firmware drops an answer without it.
func TestHTTPBootClassIsEchoed(t *testing.T) {
	class := &dhcpv6.OptVendorClass{EnterpriseNumber: intel, Data: [][]byte{[]byte("HTTPClient:Arch:00016:UNDI:003001")}}
	reply := ask(t, newServer(t), m1, message(t, dhcpv6.MessageTypeSolicit, class))
	echoed := reply.Options.VendorClass(intel)
	if len(echoed) != 1 || string(echoed[0]) != "HTTPClient" || reply.Options.BootFileURL() != "http://[fd77::1]/loaders/snponly.efi" {
		t.Errorf("answer to HTTP boot = %v", reply)
	}
}

func TestWhoGetsNoAnswer(t *testing.T) {
	s := newServer(t)
	other := &dhcpv6.DUIDUUID{UUID: [16]byte{1}}
	for name, m := range map[string]*dhcpv6.Message{
		"a request to another server":       message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(other)),
		"a request that names no server":    message(t, dhcpv6.MessageTypeRequest),
		"another server's reply":            message(t, dhcpv6.MessageTypeReply, dhcpv6.OptServerID(other)),
		"a confirmation, which asks nobody": message(t, dhcpv6.MessageTypeConfirm),
	} {
		if reply := ask(t, s, m1, m); reply != nil {
			t.Errorf("%s was answered with %v", name, reply)
		}
	}
	if reply := ask(t, s, dhcp.MAC{2}, message(t, dhcpv6.MessageTypeSolicit)); reply != nil {
		t.Errorf("a stranger was answered with %v", reply)
	}
	if reply, _ := s.handle(t.Context(), message(t, dhcpv6.MessageTypeSolicit).ToBytes(), netip.MustParseAddr("fe80::1")); reply != nil {
		t.Errorf("a machine without a MAC was answered with %v", reply)
	}
}

func TestPoolOfFour(t *testing.T) {
	s := newServer(t)
	var got []netip.Addr
	for i := range byte(4) {
		a := given(ask(t, s, dhcp.MAC{0x52, 9, 9, 9, 9, i}, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(s.duid))))
		if !a.IsValid() || slices.Contains(got, a) {
			t.Fatalf("machine %d gets %s after %v", i, a, got)
		}
		got = append(got, a)
	}
	reply := ask(t, s, dhcp.MAC{0x52, 9, 9, 9, 9, 9}, message(t, dhcpv6.MessageTypeSolicit))
	if status := reply.Options.OneIANA().Options.Status(); status == nil || status.StatusCode != iana.StatusNoAddrsAvail {
		t.Errorf("answer without an address left = %v; want NoAddrsAvail", reply)
	}
}

func TestDecline(t *testing.T) {
	s := newServer(t)
	a := given(ask(t, s, m1, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(s.duid))))
	bad := message(t, dhcpv6.MessageTypeDecline, dhcpv6.OptServerID(s.duid))
	bad.Options.OneIANA().Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
	if reply := ask(t, s, dhcp.MAC{0x52, 1}, bad); reply == nil {
		t.Error("a DECLINE was not answered")
	}
	if got := given(ask(t, s, m1, message(t, dhcpv6.MessageTypeSolicit))); got != a {
		t.Errorf("another machine's DECLINE took %s away", a)
	}
	ask(t, s, m1, bad)
	if got := given(ask(t, s, m1, message(t, dhcpv6.MessageTypeSolicit))); got == a || !got.IsValid() {
		t.Errorf("after its DECLINE the machine gets %s; want another than %s", got, a)
	}
}

func FuzzHandle(f *testing.F) {
	for _, kind := range []dhcpv6.MessageType{dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeInformationRequest, dhcpv6.MessageTypeRebind} {
		f.Add(message(f, kind).ToBytes())
	}
	s := newServer(f)
	f.Add(message(f, dhcpv6.MessageTypeDecline, dhcpv6.OptServerID(s.duid)).ToBytes())
	s.log = slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, done := s.handle(t.Context(), data, from(m1))
		if reply == nil {
			return
		}
		done()
		if _, err := dhcpv6.MessageFromBytes(reply.ToBytes()); err != nil {
			t.Errorf("answer cannot be read: %v", err)
		}
	})
}
