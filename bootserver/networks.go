package bootserver

import (
	"net/netip"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/internal/dhcp6"
)

// asking finds the machine that a DHCP packet is from, on the network that the
// packet came from: a listed machine may be carried to another one.
func (s *site) asking(c dhcp.Client) (m Machine, n Network, listed bool, ok bool) {
	n, _ = s.network(c.Network)
	m, listed = s.machines[c.MAC.String()]
	if !listed {
		m, ok = s.machine(c.MAC.HardwareAddr(), n.Server)
	}
	return m, n, listed, listed || ok
}

// dhcp6Networks are those with IPv6 as package dhcp6 has them. Where DHCP is off,
// the server's IPv6 address is only for relays to send to.
func (s *site) dhcp6Networks() []dhcp6.Network {
	var all []dhcp6.Network
	for _, n := range s.Networks {
		if !n.Server6.IsValid() || n.Mode == Off {
			continue
		}
		six := dhcp6.Network{
			Name: n.Name, Interface: n.Interface, Server: n.Server6, Subnet: n.Subnet6, First: n.Pool6.First, Last: n.Pool6.Last,
			Reserved: map[dhcp.MAC]netip.Addr{}, DNS: n.DNS, Lease: n.Lease,
		}
		for _, m := range s.Machines {
			if mac, ok := dhcp.ToMAC(m.MAC); ok && m.Network == n.Name && m.Address6.IsValid() {
				six.Reserved[mac] = m.Address6
			}
		}
		all = append(all, six)
	}
	return all
}

// dhcpNetworks are the networks as package dhcp has them.
func (s *site) dhcpNetworks() []dhcp.Network {
	var all []dhcp.Network
	for _, n := range s.Networks {
		d := dhcp.Network{
			Name: n.Name, Interface: n.Interface, Server: n.Server, Subnet: n.Subnet, Mode: dhcp.Mode(n.Mode),
			First: n.Pool.First, Last: n.Pool.Last, Reserved: map[dhcp.MAC]netip.Addr{},
			Router: n.Router, DNS: n.DNS, NTP: n.NTP, Log: n.Log, Domain: n.Domain, Lease: n.Lease,
		}
		for _, r := range n.Routes {
			d.Routes = append(d.Routes, dhcp.Route(r))
		}
		for _, m := range s.Machines {
			if mac, ok := dhcp.ToMAC(m.MAC); ok && m.Network == n.Name && m.Address.IsValid() {
				d.Reserved[mac] = m.Address
			}
		}
		all = append(all, d)
	}
	return all
}
