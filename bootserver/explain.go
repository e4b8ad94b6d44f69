package bootserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/internal/dhcp6"
	"swarmboot/images/catalogue"
)

// A Question asks what a machine would get at each step of its boot.
type Question struct {
	MAC          net.HardwareAddr
	Network      string // name of the network that it asks on; empty: its own, or the first
	Architecture uint16 // of its firmware, by the numbers of DHCP option 93
	HTTP         bool   // its firmware boots by HTTP instead of TFTP
}

// An Explanation is what it would get, and in words why where it gets nothing.
type Explanation struct {
	Machine Machine // as the config has it, after inheritance
	Listed  bool
	Network Network

	Refused  string // why it gets no answer at all; empty: it gets one
	Platform string // what its firmware is
	Firmware string // the offer to its firmware, decoded
	IPXE     string // the offer to iPXE

	Firmware6 string // the answers over IPv6, decoded; empty where the network has none, and for a BIOS
	IPXE6     string

	GRUB   string // what GRUB is told, if that can be made
	Script string // what iPXE is told
	Image  string // why kernel and scripts cannot be made; empty: they can
	Kernel string // the kernel's arguments
}

// Explain answers q from a config alone, with the functions that answer
// machines. No server need run, and nothing is changed; of leases it knows
// nothing.
func Explain(cfg Config, q Question, images *catalogue.Catalogue) (Explanation, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return Explanation{}, fmt.Errorf("config: %w", err)
	}
	mac, ok := dhcp.ToMAC(q.MAC)
	if !ok {
		return Explanation{}, fmt.Errorf("%v is no Ethernet address", q.MAC)
	}
	s := newSite(cfg)
	var e Explanation
	_, e.Listed = s.machines[q.MAC.String()]
	e.Network = s.Networks[0]
	if e.Listed && q.Network == "" {
		q.Network = s.machines[q.MAC.String()].Network
	}
	if q.Network != "" {
		if e.Network, ok = s.network(q.Network); !ok {
			return Explanation{}, fmt.Errorf("there is no network %q", q.Network)
		}
	}
	if e.Machine, ok = s.machine(q.MAC, e.Network.Server); !ok {
		e.Refused = dhcp.ErrDenied.Error()
		return e, nil
	}
	var address netip.Addr
	if e.Machine.Network == e.Network.Name {
		address = e.Machine.Address
	}

	client := dhcp.Client{MAC: mac, Program: dhcp.Firmware, Architectures: []uint16{q.Architecture}, HTTP: q.HTTP, Network: e.Network.Name}
	e.Platform = string(platform(client))
	choose := func(c dhcp.Client) (dhcp.Boot, error) {
		boot, _, err := s.choose(c)
		return boot, err
	}
	var network dhcp.Network
	for _, n := range s.dhcpNetworks() {
		if n.Name == e.Network.Name {
			network = n
		}
	}
	var err, errIPXE error
	e.Firmware, err = dhcp.Rehearse(client, network, address, choose)
	ipxe := client
	ipxe.Program, ipxe.HTTP = dhcp.IPXE, false
	e.IPXE, errIPXE = dhcp.Rehearse(ipxe, network, address, choose)
	if err := errors.Join(err, errIPXE); err != nil {
		e.Refused = err.Error()
		return e, nil
	}
	if q.Architecture != 0 {
		if e.Firmware6, err = s.rehearse6(client); err == nil {
			e.IPXE6, err = s.rehearse6(ipxe)
		}
		if err != nil {
			return Explanation{}, err
		}
	}
	args := s.kernelArgs(e.Machine, e.Network)
	image, err := images.Get(e.Machine.Image)
	if err != nil {
		e.Image = err.Error()
		return e, nil
	}
	e.Script, e.GRUB = bootweb.Scripts(bootweb.Plan{MAC: q.MAC, Name: e.Machine.Name, Image: image, KernelArgs: args}, s.base(e.Network))
	e.Kernel = strings.Join(args, " ")
	return e, nil
}

// rehearse6 is the answer that c would get over IPv6; empty if its network has
// none.
func (s *site) rehearse6(c dhcp.Client) (string, error) {
	for _, n := range s.dhcp6Networks() {
		if n.Name == c.Network {
			return dhcp6.Rehearse(c, n, func(c dhcp.Client) (dhcp.Boot, error) {
				boot, _, err := s.choose(c)
				return s.over6(boot, c.Network), err
			})
		}
	}
	return "", nil
}
