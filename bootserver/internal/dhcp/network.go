package dhcp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"swarmboot/bootserver/internal/leasestore"
)

// Mode is how far the server is a network's DHCP server.
type Mode string

// Modes. A network without one is Full.
const (
	Full         Mode = "full"         // addresses and boot information for all
	Proxy        Mode = "proxy"        // boot information only; another server gives the addresses
	Reservations Mode = "reservations" // full for listed machines, silent to all others
	Off          Mode = "off"          // silent
)

// A Network is one IPv4 network of machines, and what every machine there is told.
type Network struct {
	Name      string
	Interface string       // the network card that it is on; empty: it is reached through relays only
	Server    netip.Addr   // this server as the machines reach it
	Subnet    netip.Prefix // the machines' addresses, masked
	Mode      Mode
	First     netip.Addr // of the pool; invalid: reserved addresses only
	Last      netip.Addr
	Reserved  map[MAC]netip.Addr // addresses of listed machines

	Router netip.Addr   // default gateway; may be invalid: none
	DNS    []netip.Addr // name servers
	NTP    []netip.Addr // time servers
	Log    []netip.Addr // log servers
	Domain string       // of the machines' names; may be empty
	Routes []Route      // besides the default route
	Lease  time.Duration
}

// A Route leads to a network by way of a router.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// pool is what there is to give. In the modes in which another server gives, all
// that it can give is noted as it is heard.
func (n Network) pool() Pool {
	if n.Mode == Proxy || n.Mode == Off {
		return Pool{First: n.Subnet.Addr(), Last: broadcast(n.Subnet), Except: []netip.Addr{n.Server}, Lease: n.Lease}
	}
	return Pool{First: n.First, Last: n.Last, Except: []netip.Addr{n.Server, n.Router}, Reserved: n.Reserved, Lease: n.Lease}
}

// A network is a Network and who has which address in it.
type network struct {
	Network
	leases *leases
}

// networks are those in force. They never change: a reload puts others in their
// place, which go on with the leases of those with the same subnet.
type networks []*network

// merge makes the networks that follow on from before. Leases of new ones come
// from the store.
func (before networks) merge(next []Network, st leasestore.Store) (networks, error) {
	var all networks
	var known map[key]lease // read once, if needed
	for _, n := range next {
		if n.Mode == "" {
			n.Mode = Full
		}
		if i := slices.IndexFunc(before, func(b *network) bool { return b.Subnet == n.Subnet }); i >= 0 {
			all = append(all, &network{n, before[i].leases})
			continue
		}
		if known == nil {
			var err error
			if known, err = readLeases(st); err != nil {
				return nil, err
			}
		}
		own := maps.Clone(known)
		maps.DeleteFunc(own, func(k key, _ lease) bool { return !n.Subnet.Contains(k.addr()) })
		all = append(all, &network{n, newLeases(n.Subnet.String(), n.pool(), own, st)})
	}
	return all, nil
}

// readLeases reads all that are stored, IPv6 left out.
func readLeases(st leasestore.Store) (map[key]lease, error) {
	all, err := st.All(context.Background())
	if err != nil {
		return nil, err
	}
	known := make(map[key]lease, len(all))
	for _, l := range all {
		if l.Address.Is4() && l.MAC != (MAC{}) {
			known[keyOf(l.Address)] = lease{MAC: l.MAC, Expires: momentOf(l.Expires)}
		}
	}
	return known, nil
}

// containing finds the network of an address.
func (ns networks) containing(a netip.Addr) (*network, bool) {
	i := slices.IndexFunc(ns, func(n *network) bool { return n.Subnet.Contains(a) })
	if i < 0 {
		return nil, false
	}
	return ns[i], true
}

// on finds the network that an interface is on.
func (ns networks) on(ifname string) (*network, bool) {
	i := slices.IndexFunc(ns, func(n *network) bool { return n.Interface == ifname && ifname != "" })
	if i < 0 {
		return nil, false
	}
	return ns[i], true
}

// broadcasts tells whether what is sent to a reaches more than one computer.
func (ns networks) broadcasts(a netip.Addr) bool {
	return a == everyone.Addr() || slices.ContainsFunc(ns, func(n *network) bool { return broadcast(n.Subnet) == a })
}

// of finds the network that the sender of req is on. A relay says it in giaddr,
// or where giaddr must be an address of another network, in link selection
// (RFC 3527) or subnet selection (RFC 3011). A machine that renews its lease
// sends to us alone, without a relay, from wherever it is. All else was heard on
// the interface's own wire.
func (ns networks) of(req *dhcpv4.DHCPv4, from arrival) (*network, error) {
	if relay := addr(req.GatewayIPAddr); relay.IsValid() {
		link := relay
		if a := linkSelection(req); a.IsValid() {
			link = a
		}
		if n, ok := ns.containing(link); ok {
			return n, nil
		}
		return nil, fmt.Errorf("relay %s asks for network %s, which is not in the config; add it under networks or take this server off the relay's list", relay, link)
	}
	if current := addr(req.ClientIPAddr); current.IsValid() && !from.broadcast {
		if n, ok := ns.containing(current); ok {
			return n, nil
		}
	}
	if n, ok := ns.on(from.ifname); ok {
		return n, nil
	}
	return nil, fmt.Errorf("no network is on interface %s; it is there for relays only", from.ifname)
}

// listening are the interfaces to listen on: those of networks, and for networks
// behind relays the one with the address that the relays send to.
func (ns networks) listening(interfaceWith func(netip.Addr) (string, error)) (ports map[string][]*network, errs []*ListenError) {
	ports = map[string][]*network{}
	for _, n := range ns {
		if n.Mode == Off {
			continue
		}
		name := n.Interface
		if name == "" {
			var err error
			if name, err = interfaceWith(n.Server); err != nil {
				errs = append(errs, &ListenError{Network: n.Name, Port: serverPort, Err: err})
				continue
			}
		}
		ports[name] = append(ports[name], n)
	}
	return ports, errs
}
