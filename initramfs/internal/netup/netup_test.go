package netup

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func ack(t *testing.T, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(10, 77, 0, 11)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithServerIP(net.IPv4(10, 77, 0, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 77, 0, 1))),
	}, modifiers...)...)
	if err != nil {
		t.Fatal(err)
	}
	back, err := dhcpv4.FromBytes(p.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func TestLease(t *testing.T) {
	router := netip.MustParseAddr("10.77.0.254")
	got, err := leaseFrom(ack(t,
		dhcpv4.WithRouter(net.IP(router.AsSlice())),
		dhcpv4.WithDNS(net.IPv4(10, 77, 0, 2), net.IPv4(10, 77, 0, 3)),
		dhcpv4.WithOption(dhcpv4.OptDomainName("lab.example"))))
	want := Lease{
		Address: netip.MustParsePrefix("10.77.0.11/24"),
		Server:  netip.MustParseAddr("10.77.0.1"),
		Routes:  []Route{{netip.MustParsePrefix("0.0.0.0/0"), router}},
		DNS:     []netip.Addr{netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("10.77.0.3")},
		Domain:  "lab.example",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("leaseFrom = %+v, %v; want %+v", got, err, want)
	}
	if got, want := got.ResolvConf(), "search lab.example\nnameserver 10.77.0.2\nnameserver 10.77.0.3\n"; got != want {
		t.Errorf("ResolvConf() = %q; want %q", got, want)
	}
}

func TestLeaseClasslessRoutesReplaceTheRouter(t *testing.T) {
	_, rack, _ := net.ParseCIDR("10.80.0.0/16")
	_, here, _ := net.ParseCIDR("169.254.0.0/16")
	got, err := leaseFrom(ack(t,
		dhcpv4.WithRouter(net.IPv4(10, 77, 0, 254)),
		dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			&dhcpv4.Route{Dest: rack, Router: net.IPv4(10, 77, 0, 9)},
			&dhcpv4.Route{Dest: here, Router: net.IPv4zero}))))
	want := []Route{{netip.MustParsePrefix("10.80.0.0/16"), netip.MustParseAddr("10.77.0.9")}, {netip.MustParsePrefix("169.254.0.0/16"), netip.Addr{}}}
	if err != nil || !reflect.DeepEqual(got.Routes, want) {
		t.Errorf("Routes = %v, %v; want %v", got.Routes, err, want)
	}
}

func TestLeaseRefuses(t *testing.T) {
	for name, m := range map[string]dhcpv4.Modifier{
		"no address":     dhcpv4.WithYourIP(net.IPv4zero),
		"mask of zero":   dhcpv4.WithNetmask(net.CIDRMask(0, 32)),
		"mask with hole": dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0)),
	} {
		if got, err := leaseFrom(ack(t, m)); err == nil {
			t.Errorf("%s: leaseFrom = %+v; want an error", name, got)
		}
	}
	got, err := leaseFrom(ack(t, dhcpv4.WithOption(dhcpv4.OptDomainName("a\nnameserver 6.6.6.6"))))
	if err != nil || got.Domain != "" {
		t.Errorf("a domain of two lines gave %+v, %v; want none", got, err)
	}
}

func FuzzLease(f *testing.F) {
	f.Add([]byte{1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 1, 6, 4, 10, 0, 0, 2, 15, 1, 'x', 255})
	f.Add([]byte{1, 4, 255, 255, 0, 0, 121, 5, 0, 10, 0, 0, 1, 255})
	f.Fuzz(func(t *testing.T, options []byte) {
		p, err := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 9)))
		if err != nil {
			t.Fatal(err)
		}
		p.Options = dhcpv4.Options{}
		if err := p.Options.FromBytes(options); err != nil {
			return
		}
		lease, err := leaseFrom(p)
		if err != nil {
			return
		}
		if !lease.Address.IsValid() || lease.Address.Bits() == 0 {
			t.Errorf("address %v was accepted", lease.Address)
		}
		if strings.Count(lease.ResolvConf(), "\n") > len(lease.DNS)+1 {
			t.Errorf("resolv.conf %q has more lines than it should", lease.ResolvConf())
		}
	})
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		begin := time.Now()
		if err := poll(t.Context(), time.Minute, func() (bool, error) { calls++; return calls == 3, nil }); err != nil || time.Since(begin) != 2*tick {
			t.Errorf("poll = %v after %v; want nil after %v", err, time.Since(begin), 2*tick)
		}
		if err := poll(t.Context(), time.Minute, func() (bool, error) { return false, nil }); err != errPollTimeout {
			t.Errorf("poll = %v; want %v", err, errPollTimeout)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := poll(ctx, time.Minute, func() (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("poll with an ended context = %v", err)
		}
	})
}

func TestAbsenceTellsWhatIsThere(t *testing.T) {
	got := absence([]string{"eth0 52:54:00:00:00:01"}, errors.New("load module bnx2: no such file"))
	for _, part := range []string{"eth0 52:54:00:00:00:01", "bnx2"} {
		if !strings.Contains(got, part) {
			t.Errorf("absence = %q; want %q in it", got, part)
		}
	}
}
