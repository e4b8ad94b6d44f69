package bootserver

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"swarmboot/initramfs/bootargs"
)

// A site is the config in force, laid out for look-ups. It never changes: a
// reload puts another in its place.
type site struct {
	Config
	machines map[string]Machine // by MAC
}

func newSite(c Config) *site {
	s := &site{Config: c, machines: make(map[string]Machine, len(c.Machines))}
	for _, m := range c.Machines {
		s.machines[m.MAC.String()] = m
	}
	return s
}

// machine finds what the admin says about mac. Machines that are not listed get
// what their network has for them; address is what mac has been given, invalid
// if nothing yet.
func (s *site) machine(mac net.HardwareAddr, address netip.Addr) (Machine, bool) {
	if m, ok := s.machines[mac.String()]; ok {
		return m, true
	}
	n := s.networkOf(address)
	if n.Unknown != Deny && len(mac) == 6 {
		return Machine{MAC: mac, Network: n.Name, Boot: n.Boot, stranger: n.Unknown == Discover}, true
	}
	return Machine{}, false
}

// networkOf finds the network of an address; for one of none, the first.
func (s *site) networkOf(address netip.Addr) Network {
	for _, n := range s.Networks {
		if n.Subnet.Contains(address) || n.Subnet6.Contains(address) {
			return n
		}
	}
	return s.Networks[0]
}

// addresses are the server's own, each once.
func (s *site) addresses() []netip.Addr {
	var all []netip.Addr
	for _, n := range s.Networks {
		for _, address := range []netip.Addr{n.Server, n.Server6} {
			if address.IsValid() && !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	return all
}

// base is the URL by which the machines of n reach the server.
func (s *site) base(n Network) string { return s.url(n.Server) }

// url is the server's URL at one of its addresses, without a path.
func (s *site) url(address netip.Addr) string {
	if s.HTTPPort == 80 && address.Is6() {
		return "http://[" + address.String() + "]"
	} else if s.HTTPPort == 80 {
		return "http://" + address.String()
	}
	return "http://" + netip.AddrPortFrom(address, s.HTTPPort).String()
}

// seeder is where the machines of n reach the seeder.
func (s *site) seeder(n Network) netip.AddrPort { return netip.AddrPortFrom(n.Server, s.SwarmPort) }

// kernelArgs are the arguments of m's kernel on network n: ours, then its own.
func (s *site) kernelArgs(m Machine, n Network) []string {
	args := strings.Fields(bootargs.Args{Server: s.base(n), MAC: m.MAC, Rescue: m.Rescue, Discover: m.stranger}.String())
	// A kernel that panics starts the boot anew; an argument of the admin's
	// comes later and wins.
	args = append(args, "panic=30")
	return append(args, m.KernelArgs...)
}
