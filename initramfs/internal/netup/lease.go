package netup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// A question is asked again after 2, 4, 8 and 16 s (RFC 2131 section 4.1 doubles too).
const (
	firstAnswer = 2 * time.Second
	questions   = 4
)

// A Lease is what DHCP gave the machine.
type Lease struct {
	Interface string
	Address   netip.Prefix // with the length of the network
	Server    netip.Addr   // that answered
	Routes    []Route
	DNS       []netip.Addr
	Domain    string
}

// A Route leads to Net through Via; an invalid Via means directly.
type Route struct {
	Net netip.Prefix
	Via netip.Addr
}

// ResolvConf is the resolver's configuration, empty without name servers.
func (l Lease) ResolvConf() string {
	var b strings.Builder
	if len(l.DNS) > 0 && l.Domain != "" {
		fmt.Fprintf(&b, "search %s\n", l.Domain)
	}
	for _, server := range l.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	return b.String()
}

func ask(ctx context.Context, name string) (Lease, error) {
	// The client asks for random numbers without blocking, and the kernel gathers
	// entropy only for those who block: without a hardware source it would never
	// have any. This takes a second at most.
	rand.Read(make([]byte, 1))
	client, err := nclient4.New(name, nclient4.WithTimeout(firstAnswer), nclient4.WithRetry(questions))
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", name, err)
	}
	defer client.Close()
	answer, err := client.Request(ctx, dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute))
	if errors.Is(err, nclient4.ErrNoResponse) {
		return Lease{}, fmt.Errorf("DHCP on %s: no answer in %v: is the boot server running, is it on this network and does it know this machine?", name, firstAnswer*(1<<questions-1))
	}
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", name, err)
	}
	lease, err := leaseFrom(answer.ACK)
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: answer from %s: %w", name, answer.ACK.ServerIdentifier(), err)
	}
	lease.Interface = name
	return lease, nil
}

// leaseFrom takes what we use out of an answer and refuses what cannot be
// configured.
func leaseFrom(ack *dhcpv4.DHCPv4) (Lease, error) {
	address, ok := addr(ack.YourIPAddr)
	if !ok || address.IsUnspecified() {
		return Lease{}, fmt.Errorf("no address in it")
	}
	bits, size := ack.SubnetMask().Size()
	if size != 32 || bits == 0 {
		return Lease{}, fmt.Errorf("no usable subnet mask in it (option 1)")
	}
	lease := Lease{Address: netip.PrefixFrom(address, bits)}
	lease.Server, _ = addr(ack.ServerIdentifier())
	for _, r := range ack.ClasslessStaticRoute() {
		if route, ok := routeFrom(r); ok {
			lease.Routes = append(lease.Routes, route)
		}
	}
	if len(lease.Routes) == 0 { // RFC 3442: option 121 replaces option 3
		for _, ip := range ack.Router() {
			if router, ok := addr(ip); ok && !router.IsUnspecified() {
				lease.Routes = []Route{{netip.PrefixFrom(netip.IPv4Unspecified(), 0), router}}
				break
			}
		}
	}
	for _, ip := range ack.DNS() {
		if server, ok := addr(ip); ok {
			lease.DNS = append(lease.DNS, server)
		}
	}
	// One word, for it goes into a file of lines.
	if domain := strings.TrimRight(ack.DomainName(), "\x00"); !strings.ContainsFunc(domain, func(r rune) bool { return r <= ' ' || r > '~' }) {
		lease.Domain = domain
	}
	return lease, nil
}

func routeFrom(r *dhcpv4.Route) (Route, bool) {
	if r == nil || r.Dest == nil {
		return Route{}, false
	}
	dest, ok := addr(r.Dest.IP)
	bits, size := r.Dest.Mask.Size()
	if !ok || size != 32 {
		return Route{}, false
	}
	via, ok := addr(r.Router)
	if !ok || via.IsUnspecified() {
		via = netip.Addr{}
	}
	return Route{netip.PrefixFrom(dest, bits).Masked(), via}, true
}

func addr(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	return a, ok && a.Is4()
}
