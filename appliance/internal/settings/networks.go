package settings

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"swarmboot/bootserver"
)

const (
	minLease = time.Minute
	maxLease = 366 * 24 * time.Hour
)

var (
	// ifname is what Linux lets a network card be called.
	ifname = regexp.MustCompile(`^[^\s/:]{1,15}$`)
	// domain is labels of RFC 1123 with dots between them.
	domain = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// checkNetworks looks at each network, compares it with those before it, and
// puts it into the Config.
func (c *checker) checkNetworks() {
	names := c.order["networks"]
	if n := c.places["networks"]; n == nil || len(n.Content) == 0 {
		c.fail("networks", "is missing; name the network that the machines are on, with interface and address")
	}
	cards := map[string]string{} // network of each interface
	for _, name := range names {
		n, path := c.file.Networks[name], "networks."+name
		if c.broken[path] {
			continue
		}
		if n.Interface != "" && !ifname.MatchString(n.Interface) {
			c.fail(path+".interface", "%q is no network card's name; 'ip link' lists them", n.Interface)
		}
		if other, taken := cards[n.Interface]; taken && n.Interface != "" {
			c.fail(path+".interface", "network %s is on %s already; behind one card there is one network, and others through relays", other, n.Interface)
		}
		cards[n.Interface] = name
		resolved := bootserver.Network{
			Name: name, Interface: n.Interface, Mode: cmp.Or(n.Mode, bootserver.Full), Pool: n.Pool,
			Router: n.Router, DNS: n.DNS, NTP: n.NTP, Log: n.Log, Domain: n.Domain, Routes: n.Routes,
			Lease: cmp.Or(n.Lease, 24*time.Hour), Unknown: c.unknown(path, n), Boot: c.inherit(place{network: name, entry: noEntry}),
		}
		if err := resolved.CheckDisks(); err != nil {
			c.fail(path, "%v", err)
		}
		if c.checkPlace(path, n, &resolved) {
			c.checkOverlap(path, resolved)
			c.checkAddresses(path, resolved)
		}
		c.checkIPv6(path, n, &resolved)
		c.checkOptions(path, n)
		c.checkUnknown(path, n, resolved)
		c.settings.Networks = append(c.settings.Networks, resolved)
	}
}

// checkIPv6 looks at what machines get of IPv6.
func (c *checker) checkIPv6(path string, n Network, into *bootserver.Network) {
	address, subnet, pool := n.Address6.Prefix, n.Subnet6.Prefix, n.Pool6.Range
	relayed, key := n.Subnet.IsValid(), path+".address6"
	if relayed {
		key = path + ".subnet6"
	}
	if !address.IsValid() && !subnet.IsValid() && !pool.First.IsValid() {
		return
	}
	into.Server6, into.Subnet6, into.Pool6 = address.Addr(), address.Masked(), pool
	switch {
	case address.IsValid() && relayed:
		c.fail(path+".address6", "is for a network with an interface; behind relays it is subnet6")
	case subnet.IsValid() && !relayed:
		c.fail(path+".subnet6", "is for a network behind relays; this one has address6")
	case !address.IsValid() && !relayed:
		c.fail(key, "is missing; give the server's own IPv6 address, such as fd77::1/64")
	case !subnet.IsValid() && relayed:
		c.fail(key, "is missing; give the machines' IPv6 network, such as fd78::/64")
	case into.Mode == bootserver.Proxy:
		c.fail(path+".mode", "proxy leaves addresses to another server, which IPv6 does not know; leave address6, subnet6 and pool6 out")
	case relayed:
		into.Subnet6 = subnet
		if into.Server6 = c.ownAddress6(into.Server); !into.Server6.IsValid() && into.Server.IsValid() {
			c.fail(key, "the network of this server's address %v has no address6, by which relays and machines reach it", into.Server)
		}
	}
	if network := into.Subnet6; network.IsValid() {
		switch {
		case !pool.First.IsValid():
			if into.Mode == bootserver.Full {
				c.fail(path+".pool6", "is missing; give the addresses for the machines, such as fd77::100-fd77::1ff")
			}
		case !network.Contains(pool.First) || !network.Contains(pool.Last):
			c.fail(path+".pool6", "%v is not all in the network %v", pool, network)
		}
		for _, other := range c.settings.Networks {
			if other.Subnet6 == network {
				c.fail(key, "%v is network %s's; an address must belong to one network", network, other.Name)
			}
		}
	}
}

// ownAddress6 is the IPv6 address of the server where it has that IPv4 address.
func (c *checker) ownAddress6(address netip.Addr) netip.Addr {
	for _, n := range c.file.Networks {
		if n.Interface != "" && n.Address.IsValid() && n.Address.Addr() == address && n.Address6.IsValid() {
			return n.Address6.Addr()
		}
	}
	return netip.Addr{}
}

// unknown is the network's own policy or that for all; where only listed
// machines are answered, that for all says nothing.
func (c *checker) unknown(path string, n Network) bootserver.Policy {
	if n.Unknown == "" && n.Mode == bootserver.Reservations {
		return bootserver.Deny
	}
	return cmp.Or(n.Unknown, c.file.Unknown)
}

// checkPlace finds where the network is and the server in it.
func (c *checker) checkPlace(path string, n Network, into *bootserver.Network) (found bool) {
	if n.Subnet.IsValid() || c.broken[path+".subnet"] {
		return c.checkRelayed(path, n, into)
	}
	if n.Server.IsValid() {
		c.fail(path+".server", "is for a network behind relays; this one has address")
	}
	if n.Interface == "" {
		c.fail(path+".interface", "is missing; name the network card that the machines are on, such as eth1")
	}
	address := n.Address
	switch {
	case !address.IsValid():
		c.fail(path+".address", "is missing; give the server's own address with its network, such as 10.77.0.1/24")
	case address.Bits() > 30:
		c.fail(path+".address", "the network %v has no room for machines; use /30 or larger", address)
	case address.Addr() == address.Masked().Addr() || address.Addr() == broadcast(address):
		c.fail(path+".address", "%v is the network's or its broadcast address; give the server's own", address.Addr())
	default:
		into.Server, into.Subnet = address.Addr(), address.Masked()
		return true
	}
	return false
}

// checkRelayed does so for a network that is reached through relays: the server
// has an address elsewhere, which the machines are told.
func (c *checker) checkRelayed(path string, n Network, into *bootserver.Network) (found bool) {
	if n.Interface != "" || n.Address.IsValid() {
		c.fail(path+".subnet", "is for a network behind relays, and this one has interface or address; leave one of them out")
		return false
	}
	own := c.ownAddresses()
	switch {
	case c.broken[path+".subnet"] || c.broken[path+".server"]:
		return false
	case n.Subnet != n.Subnet.Masked():
		c.fail(path+".subnet", "%v is an address in a network; write the network, %v", n.Subnet, n.Subnet.Masked())
		return false
	case n.Subnet.Bits() > 30:
		c.fail(path+".subnet", "the network %v has no room for machines; use /30 or larger", n.Subnet)
		return false
	case len(own) == 0:
		c.fail(path+".subnet", "no network has interface and address; relays need one to reach this server by")
		return false
	case n.Server.IsValid() && !slices.Contains(own, n.Server):
		c.fail(path+".server", "%v is no address of this server; there are %s", n.Server, list(own))
		return false
	case !n.Server.IsValid() && len(own) > 1:
		c.fail(path+".server", "is missing; which of this server's addresses do its machines reach: %s?", list(own))
		return false
	}
	into.Server, into.Subnet = n.Server, n.Subnet
	if !n.Server.IsValid() {
		into.Server = own[0]
	}
	return true
}

// ownAddresses are the server's, on its cards.
func (c *checker) ownAddresses() (all []netip.Addr) {
	for _, name := range c.order["networks"] {
		if n := c.file.Networks[name]; n.Interface != "" && n.Address.IsValid() {
			all = append(all, n.Address.Addr())
		}
	}
	return all
}

func (c *checker) checkOverlap(path string, n bootserver.Network) {
	for _, other := range c.settings.Networks {
		if other.Subnet.IsValid() && n.Subnet.Overlaps(other.Subnet) {
			key := ".address"
			if n.Interface == "" {
				key = ".subnet"
			}
			c.fail(path+key, "%v overlaps with network %s, %v; an address must belong to one network", n.Subnet, other.Name, other.Subnet)
		}
	}
}

// checkAddresses looks at pool, router and routes.
func (c *checker) checkAddresses(path string, n bootserver.Network) {
	if router := n.Router; router.IsValid() && router != n.Server {
		if why := misplaced(n, router); why != "" {
			c.fail(path+".router", "%v %s", router, why)
		}
	}
	for i, route := range n.Routes {
		if !n.Subnet.Contains(route.Via) {
			c.fail(item(path+".routes", i), "the router %v is outside the network %v", route.Via, n.Subnet)
		}
	}
	if !n.Pool.First.IsValid() {
		return
	}
	if n.Mode == bootserver.Proxy || n.Mode == bootserver.Off {
		c.fail(path+".pool", "mode: %s gives no addresses; leave the pool out", n.Mode)
	}
	for _, end := range []netip.Addr{n.Pool.First, n.Pool.Last} {
		if why := misplaced(n, end); why != "" {
			c.fail(path+".pool", "%v %s", end, why)
		}
	}
	for _, taken := range []netip.Addr{n.Server, n.Router} {
		if n.Pool.Contains(taken) {
			c.fail(path+".pool", "holds %v, which the server or the router has", taken)
		}
	}
}

// checkOptions looks at what machines are told besides addresses.
func (c *checker) checkOptions(path string, n Network) {
	switch given := c.has(path + ".lease"); {
	case given && n.Lease < minLease:
		c.fail(path+".lease", "%v is shorter than a boot; use at least 1m", n.Lease)
	case given && n.Lease > maxLease:
		c.fail(path+".lease", "%v is longer than a year; an address that is not needed would never come back", n.Lease)
	}
	if n.Domain != "" && (len(n.Domain) > 253 || !domain.MatchString(n.Domain)) {
		c.fail(path+".domain", "%q is no domain name; want one such as example.org", n.Domain)
	}
}

// checkUnknown asks whether machines that are not listed can be given what they
// are to get.
func (c *checker) checkUnknown(path string, n Network, resolved bootserver.Network) {
	if c.broken[path+".unknown"] || c.broken["unknown"] || resolved.Unknown == bootserver.Deny {
		return
	}
	if n.Mode == bootserver.Reservations {
		c.fail(path+".unknown", "mode: reservations answers listed machines alone; use mode: full, or leave unknown out")
		return
	}
	if resolved.Image.IsZero() && !c.imageBroken(place{network: resolved.Name, entry: noEntry}) {
		c.fail("defaults.image", "is missing; unknown: %s needs it, here or in network %s", resolved.Unknown, resolved.Name)
	}
	if resolved.Mode == bootserver.Full && !n.Pool.First.IsValid() {
		c.fail(path+".pool", "is missing; unknown: %s needs addresses for machines that are not listed", resolved.Unknown)
	}
}

// misplaced tells why no machine of the network can have addr.
func misplaced(n bootserver.Network, addr netip.Addr) string {
	switch {
	case !n.Subnet.Contains(addr):
		return fmt.Sprintf("is outside the network %v", n.Subnet)
	case addr == n.Server:
		return "is the server's own address"
	case addr == n.Subnet.Addr():
		return "is the address of the network itself"
	case addr == broadcast(n.Subnet):
		return "is the network's broadcast address"
	}
	return ""
}

// broadcast is the last address of an IPv4 network.
func broadcast(network netip.Prefix) netip.Addr {
	last := network.Addr().As4()
	hosts := uint32(1)<<(32-network.Bits()) - 1
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(last[:])|hosts)
	return netip.AddrFrom4(last)
}

func list(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}
