package vm

import (
	"fmt"
	"net/netip"
)

// plug connects a machine to the bridge and returns the name of its tap device.
//
//	br0 ── name-s ══ name-m ── name-b ── name-t ── QEMU
//	       (veth pair)         (bridge)  (tap)
//
// A queue limits what leaves a device, so a cable that is to be limited both
// ways needs two devices that send: the two ends of the veth pair.
func (l *LAN) plug(name, rate string) (tap string, err error) {
	server, machine, bridge, tap := name+"-s", name+"-m", name+"-b", name+"-t"
	if len(server) > 15 {
		return "", fmt.Errorf("machine name %q: a network device name has at most 15 letters, so use at most 13", name)
	}
	steps := [][]string{
		{"link", "add", server, "type", "veth", "peer", "name", machine},
		{"link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"},
		{"tuntap", "add", "dev", tap, "mode", "tap"},
		{"link", "set", server, "master", Bridge},
		{"link", "set", machine, "master", bridge},
		{"link", "set", tap, "master", bridge},
	}
	for _, dev := range []string{server, machine, bridge, tap} {
		steps = append(steps, []string{"link", "set", dev, "up"})
	}
	for _, step := range steps {
		if err := l.ip(step...); err != nil {
			return "", fmt.Errorf("plug in %s: %w", name, err)
		}
	}
	return tap, l.SetRate(name, rate)
}

// Attach gives the LAN's namespace one more card on the bridge, with an address
// of its own, for a program that is to be another computer to the machines.
func (l *LAN) Attach(name string, address netip.Prefix) error {
	for _, step := range [][]string{
		{"link", "add", name, "type", "veth", "peer", "name", name + "-s"},
		{"link", "set", name + "-s", "master", Bridge, "up"},
		{"addr", "add", address.String(), "dev", name},
		{"link", "set", name, "up"},
	} {
		if err := l.ip(step...); err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
	}
	// Each card answers for its own address alone, although one kernel has both.
	for _, setting := range []string{"arp_ignore=1", "arp_announce=2"} {
		if err := run("ip", "netns", "exec", l.name, "sysctl", "-qw", "net.ipv4.conf.all."+setting); err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
	}
	return nil
}

// Join lays a cable from a card of this LAN's namespace to the bridge of another
// LAN, and gives the card an address there: the namespace is then a router
// between the two.
func (l *LAN) Join(other *LAN, name string, address netip.Prefix) error {
	for _, step := range [][]string{
		{"-n", l.name, "link", "add", name, "type", "veth", "peer", "name", name + "-s", "netns", other.name},
		{"-n", other.name, "link", "set", name + "-s", "master", Bridge, "up"},
		{"-n", l.name, "addr", "add", address.String(), "dev", name},
		{"-n", l.name, "link", "set", name, "up"},
	} {
		if err := run("ip", step...); err != nil {
			return fmt.Errorf("join %s: %w", name, err)
		}
	}
	return nil
}

// AddAddress gives the boot server one more address on the LAN.
func (l *LAN) AddAddress(address netip.Prefix) error {
	// nodad: else it takes seconds until an IPv6 address may be used.
	return l.ip("addr", "add", address.String(), "dev", Bridge, "nodad")
}

// unplug removes what plug made.
func (l *LAN) unplug(name string) error {
	for _, dev := range []string{name + "-s", name + "-b", name + "-t"} {
		if err := l.ip("link", "del", dev); err != nil {
			return fmt.Errorf("unplug %s: %w", name, err)
		}
	}
	return nil
}

// SetRate limits the cable of the named machine, in each direction, to a rate
// as tc writes it, such as 100mbit. The empty rate lifts the limit.
func (l *LAN) SetRate(name, rate string) error {
	for _, dev := range []string{name + "-s", name + "-m"} {
		args := []string{"-n", l.name, "qdisc", "replace", "dev", dev, "root"}
		if rate == "" {
			args = append(args, "noqueue")
		} else {
			// burst: 10 ms at 100 Mbit/s, and more than the largest packet that
			// leaves a virtual network card unsegmented (64 KiB). latency: a
			// switch's buffer.
			args = append(args, "tbf", "rate", rate, "burst", "128kb", "latency", "50ms")
		}
		if err := run("tc", args...); err != nil {
			return fmt.Errorf("set the rate of %s: %w", name, err)
		}
	}
	return nil
}
