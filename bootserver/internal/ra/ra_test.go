package ra

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"swarmboot/initramfs/nettest"
)

var (
	card    = net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}
	machine = netip.MustParseAddr("fe80::5054:ff:fe77:1%eth1")
	router  = netip.MustParseAddr("fe80::1%eth1")
	nobody  = netip.Addr{}
	prefix  = netip.MustParsePrefix("fd77::/64")
)

func server(prefix netip.Prefix) *Server {
	return New(Config{Interface: "eth1", Prefix: func() netip.Prefix { return prefix }, Log: slog.New(slog.DiscardHandler),
		Known: func(mac net.HardwareAddr) bool { return mac.String() == card.String() }})
}

func solicitation(mac net.HardwareAddr) *ndp.RouterSolicitation {
	if mac == nil {
		return &ndp.RouterSolicitation{}
	}
	return &ndp.RouterSolicitation{Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac}}}
}

// TestWhoIsAnswered: without IPv6 addresses to give, only a machine of ours that
// has nobody else to wait for.
func TestWhoIsAnswered(t *testing.T) {
	now := time.Now()
	stranger := net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 0x99}
	for _, c := range []struct {
		name   string
		prefix netip.Prefix
		ask    *ndp.RouterSolicitation
		from   netip.Addr
		routes bool
		want   netip.Addr
	}{
		{"a machine of ours", netip.Prefix{}, solicitation(card), machine, false, machine},
		{"a stranger", netip.Prefix{}, solicitation(stranger), machine, false, nobody},
		{"one who does not say who it is", netip.Prefix{}, solicitation(nil), machine, false, nobody},
		{"one without an address", netip.Prefix{}, solicitation(nil), netip.IPv6Unspecified(), false, nobody},
		{"a machine of ours, and this host is a router", netip.Prefix{}, solicitation(card), machine, true, nobody},
		{"with DHCPv6, everybody", prefix, solicitation(stranger), machine, false, machine},
		{"with DHCPv6, one without an address", prefix, solicitation(nil), netip.IPv6Unspecified(), false, allNodes},
	} {
		if got := server(c.prefix).reply(c.ask, c.from, c.routes, now); got != c.want {
			t.Errorf("%s: reply to %v; want %v", c.name, got, c.want)
		}
	}
}

func TestAnswersToAllAreRare(t *testing.T) {
	s, now := server(prefix), time.Now()
	ask := func(after time.Duration) netip.Addr {
		return s.reply(solicitation(nil), netip.IPv6Unspecified(), false, now.Add(after))
	}
	if got := ask(0); got != allNodes {
		t.Errorf("at first: reply to %v; want %v", got, allNodes)
	}
	if got := ask(pause - 1); got != nobody {
		t.Errorf("soon after: reply to %v; want none", got)
	}
	if got := ask(pause); got != allNodes {
		t.Errorf("after a pause: reply to %v; want %v", got, allNodes)
	}
}

// TestAReloadIsTold: everybody hears of another prefix, and of none, at once.
func TestAReloadIsTold(t *testing.T) {
	s, now := server(netip.Prefix{}), time.Now()
	for _, step := range []struct {
		after  time.Duration
		prefix netip.Prefix
		want   bool
	}{
		{0, netip.Prefix{}, false},
		{time.Second, prefix, true},
		{2 * time.Second, prefix, false},
		{interval, prefix, false},
		{time.Second + interval, prefix, true},
		{2*time.Second + interval, netip.MustParsePrefix("fd78::/64"), true},
		{3*time.Second + interval, netip.Prefix{}, true},
		{9 * interval, netip.Prefix{}, false},
	} {
		s.cfg.Prefix = func() netip.Prefix { return step.prefix }
		if got := s.due(now.Add(step.after)); got != step.want {
			t.Errorf("after %v, with %v: everybody is told: %v; want %v", step.after, step.prefix, got, step.want)
		}
	}
}

// TestARealRouterHasTheWord: while there is one, there is no empty answer.
func TestARealRouterHasTheWord(t *testing.T) {
	for _, c := range []struct {
		name  string
		heard *ndp.RouterAdvertisement
		want  netip.Addr // half an hour later, less a second
	}{
		{"another boot server", &ndp.RouterAdvertisement{}, machine},
		{"a router", &ndp.RouterAdvertisement{RouterLifetime: time.Hour}, nobody},
		{"a DHCPv6 relay", &ndp.RouterAdvertisement{ManagedConfiguration: true}, nobody},
		{"a prefix", &ndp.RouterAdvertisement{Options: []ndp.Option{&ndp.PrefixInformation{Prefix: prefix.Addr(), PrefixLength: 64}}}, nobody},
	} {
		s, now := server(netip.Prefix{}), time.Now()
		s.reply(c.heard, router, false, now)
		if got := s.reply(solicitation(card), machine, false, now.Add(silence-time.Second)); got != c.want {
			t.Errorf("%s: reply to %v; want %v", c.name, got, c.want)
		}
		if got := s.reply(solicitation(card), machine, false, now.Add(silence)); got != machine {
			t.Errorf("%s, long ago: reply to %v; want %v", c.name, got, machine)
		}
	}
}

func TestAdvertisementIsNoDefaultRoute(t *testing.T) {
	ifi := &net.Interface{HardwareAddr: card}
	us := &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: card}
	for p, want := range map[netip.Prefix]*ndp.RouterAdvertisement{
		{}: {Options: []ndp.Option{us}},
		prefix: {ManagedConfiguration: true, OtherConfiguration: true, Options: []ndp.Option{us,
			&ndp.PrefixInformation{Prefix: prefix.Addr(), PrefixLength: 64, OnLink: true, ValidLifetime: lifetime, PreferredLifetime: lifetime}}},
	} {
		if got := server(p).advertisement(ifi); !reflect.DeepEqual(got, want) {
			t.Errorf("advertisement for %v = %+v; want %+v", p, got, want)
		}
	}
}

// TestOnTheWire asks through a cable of its own.
func TestOnTheWire(t *testing.T) {
	if !nettest.Alone(t, "link add eth1 type veth peer name far address "+card.String(), "link set eth1 up", "link set far up") {
		return
	}
	for _, p := range []netip.Prefix{{}, prefix} {
		conn := dial(t, "far")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- server(p).Run(ctx) }()
		got := ask(t, conn)
		if got.RouterLifetime != 0 || got.ManagedConfiguration != p.IsValid() {
			t.Errorf("with prefix %v the answer is %+v", p, got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// dial waits until the kernel has made sure of the interface's own address.
func dial(t *testing.T, name string) *ndp.Conn {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		conn, _, err := ndp.Listen(ifi, ndp.LinkLocal)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// ask repeats the question, as machines do: the server may be on its way up.
func ask(t *testing.T, conn *ndp.Conn) *ndp.RouterAdvertisement {
	t.Helper()
	for range 60 {
		if err := conn.WriteTo(solicitation(card), nil, allRouters); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			message, _, from, err := conn.ReadFrom()
			if err != nil {
				break
			}
			if m, ok := message.(*ndp.RouterAdvertisement); ok && from.IsLinkLocalUnicast() {
				return m
			}
		}
	}
	t.Fatal("no answer to router solicitations")
	return nil
}
