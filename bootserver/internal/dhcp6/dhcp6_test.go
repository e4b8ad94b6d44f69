package dhcp6

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
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
	s, err := New([]Network{hall(), annex}, store, &chooser{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hall is a network on the server's own wire.
func hall() Network {
	return Network{
		Name: "hall", Interface: "eth1", Server: netip.MustParseAddr("fd77::1"), Subnet: netip.MustParsePrefix("fd77::/64"), First: first, Last: last,
		Reserved: map[dhcp.MAC]netip.Addr{m2: own}, Lease: time.Hour,
		DNS: []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd77::53")},
	}
}

// annex is one behind relays.
var annex = Network{
	Name: "annex", Server: netip.MustParseAddr("fd77::1"), Subnet: netip.MustParsePrefix("fd78::/64"),
	First: netip.MustParseAddr("fd78::100"), Last: netip.MustParseAddr("fd78::103"), Lease: time.Hour,
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
	reply := s.handle(t.Context(), m.ToBytes(), netip.AddrPortFrom(from(mac), 546), "eth1")
	if reply.packet == nil {
		return nil
	}
	reply.sent()
	back, err := dhcpv6.MessageFromBytes(reply.packet.ToBytes())
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
	reply := ask(t, s, m1, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(hall().duid())))
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
	if got := given(ask(t, over(t, s.store), m1, message(t, dhcpv6.MessageTypeSolicit))); got != a {
		t.Errorf("after a restart the machine gets %s; want %s", got, a)
	}
}

func TestReservedAddress(t *testing.T) {
	s := newServer(t)
	if got := given(ask(t, s, m2, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(hall().duid())))); got != own {
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
		"a request to another server":    message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(other)),
		"a request that names no server": message(t, dhcpv6.MessageTypeRequest),
		"another server's reply":         message(t, dhcpv6.MessageTypeReply, dhcpv6.OptServerID(other)),
		"a confirmation of no address":   message(t, dhcpv6.MessageTypeConfirm),
		"a solicit that names us":        message(t, dhcpv6.MessageTypeSolicit, dhcpv6.OptServerID(hall().duid())),
		"a rebind that names us":         message(t, dhcpv6.MessageTypeRebind, dhcpv6.OptServerID(hall().duid())),
		"a question to another server":   message(t, dhcpv6.MessageTypeInformationRequest, dhcpv6.OptServerID(other)),
	} {
		if reply := ask(t, s, m1, m); reply != nil {
			t.Errorf("%s was answered with %v", name, reply)
		}
	}
	if reply := ask(t, s, dhcp.MAC{2}, message(t, dhcpv6.MessageTypeSolicit)); reply != nil {
		t.Errorf("a stranger was answered with %v", reply)
	}
	solicit := message(t, dhcpv6.MessageTypeSolicit).ToBytes()
	if reply := s.handle(t.Context(), solicit, netip.MustParseAddrPort("[fe80::1]:546"), "eth1"); reply.packet != nil {
		t.Errorf("a machine without a MAC was answered with %v", reply.packet)
	}
	if reply := s.handle(t.Context(), solicit, netip.AddrPortFrom(from(m1), 546), "eth2"); reply.packet != nil {
		t.Errorf("a machine on a wire without IPv6 was answered with %v", reply.packet)
	}
}

// TestConfirm: a machine learns whether it was carried to another network.
func TestConfirm(t *testing.T) {
	s := newServer(t)
	for addresses, want := range map[string]iana.StatusCode{
		"fd77::12":          iana.StatusSuccess, // whoever has it
		"fd78::12":          iana.StatusNotOnLink,
		"fd77::12 fd78::12": iana.StatusNotOnLink,
	} {
		m := message(t, dhcpv6.MessageTypeConfirm)
		ia := m.Options.OneIANA()
		for _, a := range strings.Fields(addresses) {
			ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a)})
		}
		reply := ask(t, s, m1, m)
		if reply == nil || reply.Options.Status() == nil {
			t.Errorf("no answer to a confirmation of %s: %v", addresses, reply)
			continue
		}
		if got := reply.Options.Status().StatusCode; got != want || reply.Options.OneIANA() != nil || reply.Options.ServerID() == nil {
			t.Errorf("CONFIRM of %s = %v; want the status %v alone", addresses, reply, want)
		}
	}
}

func TestPoolOfFour(t *testing.T) {
	s := newServer(t)
	var got []netip.Addr
	for i := range byte(4) {
		a := given(ask(t, s, dhcp.MAC{0x52, 9, 9, 9, 9, i}, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(hall().duid()))))
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
	a := given(ask(t, s, m1, message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(hall().duid()))))
	bad := message(t, dhcpv6.MessageTypeDecline, dhcpv6.OptServerID(hall().duid()))
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

// brokenStore cannot write.
type brokenStore struct {
	leasestore.Store
	err error
}

func (s brokenStore) Claim(context.Context, leasestore.Lease, time.Time) error { return s.err }

// TestFullDisk: machines that are known boot although nothing can be written, and
// no other is told an address.
func TestFullDisk(t *testing.T) {
	s := newServer(t)
	request := message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(hall().duid()))
	before := given(ask(t, s, m1, request))
	store := s.store
	s.store = brokenStore{store, leasestore.ErrUnavailable}
	if err := s.Reload([]Network{hall()}); err != nil {
		t.Fatal(err)
	}
	for mac, want := range map[dhcp.MAC]netip.Addr{m1: before, m2: own} {
		if got := given(ask(t, s, mac, request)); got != want {
			t.Errorf("%s, which is known, gets %v; want %s", mac, got, want)
		}
	}
	stranger := dhcp.MAC{0x52, 9, 9, 9, 9, 9}
	for range 2 { // it tries again, and is not known by that
		reply := ask(t, s, stranger, request)
		if got := given(reply); got.IsValid() || reply.Options.OneIANA().Options.Status() == nil {
			t.Errorf("a machine whose lease cannot be stored gets %v: %v; want NoAddrsAvail", got, reply)
		}
	}
	s.store = store
	if err := s.Reload([]Network{hall()}); err != nil {
		t.Fatal(err)
	}
	if got := given(ask(t, s, stranger, request)); !got.IsValid() {
		t.Error("a machine gets no address once there is room again")
	}
}

// TestTheStoreKnowsBetter: an address that is stored for another machine is not
// given away, and the machine gets another one.
func TestTheStoreKnowsBetter(t *testing.T) {
	s := newServer(t)
	offered := given(ask(t, s, m1, message(t, dhcpv6.MessageTypeSolicit)))
	other := leasestore.Lease{Pool: "hall IPv6", Address: offered, MAC: dhcp.MAC{0x52, 8}, Expires: time.Now().Add(time.Hour)}
	if err := s.store.Claim(t.Context(), other, time.Now()); err != nil {
		t.Fatal(err)
	}
	request := message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(hall().duid()))
	if got := given(ask(t, s, m1, request)); got == offered {
		t.Errorf("m1 gets %s, which is another machine's", got)
	}
	if got := given(ask(t, s, m1, request)); !got.IsValid() || got == offered {
		t.Errorf("m1 gets %v when it asks again; want another address than %s", got, offered)
	}
}

// A reload changes what machines are given, and forgets nothing.
func TestReload(t *testing.T) {
	s := newServer(t)
	request := message(t, dhcpv6.MessageTypeRequest, dhcpv6.OptServerID(hall().duid()))
	before := given(ask(t, s, m1, request))
	moved, other := hall(), netip.MustParseAddr("fd77::12")
	moved.Reserved = map[dhcp.MAC]netip.Addr{m2: other}
	if err := s.Reload([]Network{moved}); err != nil {
		t.Fatal(err)
	}
	if mac, ok := s.Owner(before); !ok || mac != m1 {
		t.Errorf("Owner(%s) after a reload = %v, %v; want %s", before, mac, ok, m1)
	}
	if got := given(ask(t, s, m1, request)); got != before {
		t.Errorf("after a reload m1 gets %s; want %s as before", got, before)
	}
	if got := given(ask(t, s, m2, request)); got != other {
		t.Errorf("after a reload m2 gets %s; want its own new one, %s", got, other)
	}
	if reply := relay(t, s, fromAnnex, message(t, dhcpv6.MessageTypeSolicit)); reply.packet != nil {
		t.Errorf("a machine of a network that is gone was answered with %v", reply.packet)
	}
	moved.First, moved.Last = netip.MustParseAddr("fd77::200"), netip.MustParseAddr("fd77::203")
	if err := s.Reload([]Network{moved}); err != nil {
		t.Fatal(err)
	}
	if got := given(ask(t, s, m1, request)); got.Less(moved.First) || moved.Last.Less(got) {
		t.Errorf("with another pool m1 gets %s; want one of %s to %s", got, moved.First, moved.Last)
	}
}

func FuzzHandle(f *testing.F) {
	solicit := message(f, dhcpv6.MessageTypeSolicit)
	for _, kind := range []dhcpv6.MessageType{dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeInformationRequest, dhcpv6.MessageTypeRebind} {
		f.Add(message(f, kind).ToBytes())
	}
	f.Add(message(f, dhcpv6.MessageTypeDecline, dhcpv6.OptServerID(hall().duid())).ToBytes())
	f.Add(fromAnnex(solicit).ToBytes())
	f.Add(twoRelays(solicit).ToBytes())
	s := newServer(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		reply := s.handle(t.Context(), data, netip.AddrPortFrom(from(m1), 546), "eth1")
		if reply.packet == nil {
			return
		}
		reply.sent()
		back, err := dhcpv6.FromBytes(reply.packet.ToBytes())
		if err != nil {
			t.Fatalf("answer cannot be read: %v", err)
		}
		// Each relay takes its part off: there must be as many as there were.
		asked, err := dhcpv6.FromBytes(data)
		if err != nil {
			t.Fatalf("what cannot be read was answered with %v", back)
		}
		for asked.IsRelay() && back.IsRelay() {
			asked, back = asked.(*dhcpv6.RelayMessage).Options.RelayMessage(), back.(*dhcpv6.RelayMessage).Options.RelayMessage()
		}
		if asked.IsRelay() || back.IsRelay() {
			t.Errorf("relays of the answer do not match those of the request: %v, %v", asked, back)
		}
	})
}
