package settings

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"swarmboot/bootserver"
)

// hostname is one label of RFC 1123.
var hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (c *checker) checkRacks() {
	for _, name := range c.order["racks"] {
		c.known("racks."+name+".network", c.file.Racks[name].Network, "network", c.order["networks"])
	}
}

// known tells whether a name is among those there are.
func (c *checker) known(path, name, kind string, names []string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	if name != "" {
		c.fail(path, "there is no %s %q%s", kind, name, c.suggest(name, names))
	}
	return false
}

// checkMachines looks at each entry, takes it apart into machines, compares
// them with those before, and puts them into the Config.
func (c *checker) checkMachines() {
	owners := map[string]string{} // of MACs, names and addresses: the path that had it first
	alone := func(path, kind, value string) {
		first, taken := owners[kind+" "+value]
		if taken {
			c.fail(path, "%s is in line %d already, as %s", value, c.place(first).Line, first)
			return
		}
		owners[kind+" "+value] = path
	}
	for i, entry := range c.file.Machines {
		path := item("machines", i)
		if c.broken[path] {
			continue
		}
		names := c.checkEntry(path, entry)
		where := place{network: c.network(path, entry), rack: entry.Rack, group: entry.Group, entry: i}
		boot := c.inherit(where)
		c.checkBoot(path, where, boot)
		if err := boot.CheckDisks(); err != nil {
			c.fail(path, "%v", err)
		}
		for j, mac := range entry.MAC {
			m := bootserver.Machine{MAC: mac, Rack: entry.Rack, Group: entry.Group, Network: where.network, Boot: boot}
			alone(c.part(path+".mac", j), "mac", mac.String())
			if j < len(names) {
				m.Name = names[j]
				alone(path+".name", "name", m.Name)
			}
			if j < len(entry.Address) {
				m.Address = entry.Address[j]
				alone(c.part(path+".address", j), "address", m.Address.String())
			}
			c.checkAddress(c.part(path+".address", j), where.network, m.Address)
			if j < len(entry.Address6) {
				m.Address6 = entry.Address6[j]
				alone(c.part(path+".address6", j), "address", m.Address6.String())
				c.checkAddress6(c.part(path+".address6", j), where.network, m.Address6)
			}
			m.Files = c.files(where, m)
			var bmc netip.Addr // which the machines of one chassis may share
			if j < len(entry.BMC) {
				bmc = entry.BMC[j]
			}
			c.power(path, where, m, bmc)
			c.settings.Machines = append(c.settings.Machines, m)
			c.settings.places[mac.String()] = where
		}
	}
}

// checkEntry looks at an entry by itself and returns the names that it gives.
func (c *checker) checkEntry(path string, entry Machine) []string {
	c.known(path+".rack", entry.Rack, "rack", c.order["racks"])
	c.known(path+".group", entry.Group, "group", c.order["groups"])
	if len(entry.MAC) == 0 {
		c.fail(path+".mac", "is missing; a machine is known by the MAC address it boots with")
		return nil
	}
	if n := len(entry.Address); n > 0 && n != len(entry.MAC) {
		c.fail(path+".address", "want one address for each MAC address: there are %d and %d", n, len(entry.MAC))
	}
	if n := len(entry.Address6); n > 0 && n != len(entry.MAC) {
		c.fail(path+".address6", "want one address for each MAC address: there are %d and %d", n, len(entry.MAC))
	}
	if n := len(entry.BMC); n > 0 && n != len(entry.MAC) {
		c.fail(path+".bmc", "want one address for each MAC address: there are %d and %d", n, len(entry.MAC))
	}
	if entry.Name == "" {
		return nil
	}
	names, err := ExpandName(entry.Name)
	if err != nil {
		c.fail(path+".name", "%v", err)
		return nil
	}
	for _, name := range names {
		if !hostname.MatchString(name) {
			c.fail(path+".name", "%q is no host name; want lower-case letters, digits and dashes, 63 at most", name)
		}
	}
	if len(names) != len(entry.MAC) {
		c.fail(path+".name", "want one name for each MAC address: there are %d and %d", len(names), len(entry.MAC))
		return nil
	}
	return names
}

// network finds the network of an entry: the one it names, that of its address,
// its rack's, or the only one.
func (c *checker) network(path string, entry Machine) string {
	names := c.order["networks"]
	if entry.Network != "" {
		c.known(path+".network", entry.Network, "network", names)
		return entry.Network
	}
	if len(entry.Address) > 0 {
		for _, n := range c.settings.Networks {
			if n.Subnet.IsValid() && n.Subnet.Contains(entry.Address[0]) {
				return n.Name
			}
		}
	}
	if rack, ok := c.file.Racks[entry.Rack]; ok && rack.Network != "" {
		return rack.Network
	}
	switch {
	case len(names) == 1:
		return names[0]
	case len(names) == 0 || c.broken["networks"] || c.broken[path+".rack"] || c.broken[path+".address"]:
	case len(entry.Address) > 0:
		c.fail(path+".address", "%v is in none of the networks %s", entry.Address[0], strings.Join(names, ", "))
	default:
		c.fail(path+".network", "is missing; there are %s", strings.Join(names, ", "))
	}
	return ""
}

// checkBoot looks at what a machine boots, all levels together.
func (c *checker) checkBoot(path string, where place, boot bootserver.Boot) {
	if boot.Image.IsZero() && !c.imageBroken(where) {
		c.fail(path+".image", "is missing; give it here, to its rack, group or network, or under defaults")
	}
	if n := len(strings.Join(boot.KernelArgs, " ")); n > maxKernelArgs {
		c.fail(path+".kernel_args", "with those from further out are %d bytes; keep to %d, kernels cut the rest", n, maxKernelArgs)
	}
}

// checkAddress looks at a machine's own address; invalid if it has none.
func (c *checker) checkAddress(path, network string, addr netip.Addr) {
	for _, n := range c.settings.Networks {
		if n.Name != network || c.broken["networks."+network] {
			continue
		}
		own := n.Mode == bootserver.Full || n.Mode == bootserver.Reservations
		switch why := ""; {
		case !addr.IsValid():
			if own && !n.Pool.First.IsValid() && !c.broken["networks."+network+".pool"] {
				c.fail(path, "is missing, and network %s has no pool to take one from", network)
			}
		case !own:
			c.fail(path, "network %s is in mode %s: another server gives the addresses; leave it out", network, n.Mode)
		case n.Pool.Contains(addr):
			c.fail(path, "%v is in the pool %v; take one that no other machine can be given", addr, n.Pool)
		case addr == n.Router:
			c.fail(path, "%v is the router's", addr)
		case n.Subnet.IsValid():
			if why = misplaced(n, addr); why != "" {
				c.fail(path, "%v %s", addr, why)
			}
		}
	}
}

// checkAddress6 looks at a machine's own IPv6 address.
func (c *checker) checkAddress6(path, network string, addr netip.Addr) {
	for _, n := range c.settings.Networks {
		if n.Name != network || c.broken["networks."+network] {
			continue
		}
		switch {
		case !n.Subnet6.IsValid():
			c.fail(path, "network %s has no IPv6; give it address6 (behind relays subnet6), or leave this out", network)
		case !n.Subnet6.Contains(addr):
			c.fail(path, "%v is outside the network %v", addr, n.Subnet6)
		case addr == n.Server6:
			c.fail(path, "%v is the server's own address", addr)
		case n.Pool6.Contains(addr):
			c.fail(path, "%v is in the pool %v; take one that no other machine can be given", addr, n.Pool6)
		}
	}
}

// part is the path of an item, if path is a list in the file.
func (c *checker) part(path string, i int) string {
	if at := item(path, i); c.places[at] != nil {
		return at
	}
	return path
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
