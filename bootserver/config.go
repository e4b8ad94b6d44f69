package bootserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"swarmboot/images"
)

// Policy is what machines get that are not in the config.
type Policy string

const (
	Deny    Policy = "deny"    // no answer
	Default Policy = "default" // the default image
)

// Ports that a Config without them gets.
const (
	defaultHTTPPort  = 80
	defaultSwarmPort = 6881
	defaultLease     = 24 * time.Hour
)

// Config says which network the server boots, and what each machine gets.
type Config struct {
	Interface    string        // the network card that machines are reached by
	Address      netip.Prefix  // the server's own address there, with the network's length
	HTTPPort     uint16        // 80
	SwarmPort    uint16        // 6881, on the server; machines use theirs
	PoolFirst    netip.Addr    // addresses for machines without one of their own
	PoolLast     netip.Addr    //
	Router       netip.Addr    // default gateway; may be invalid: none
	DNS          []netip.Addr  // name servers; may be empty
	LeaseTime    time.Duration // 24 hours
	Machines     []Machine     //
	DefaultImage images.Ref    // for unknown machines
	Unknown      Policy        // deny
	KernelArgs   []string      // for every machine, before its own
	State        string        // folder of leases and profiles
	Loaders      string        // folder with undionly.kpxe and snponly.efi
	Initramfs    string        // file, made by initramfs/cmd/mkinitramfs
	Rescue       bool          // open a shell on the console of a machine whose boot fails
}

// Machine is one machine that the admin has named.
type Machine struct {
	MAC        net.HardwareAddr // of the card it boots from
	Name       string           // host name; empty leaves the image's own
	Image      images.Ref
	Address    netip.Addr // may be invalid: from the pool
	KernelArgs []string   // after those for all
}

// withDefaults fills in what is left out.
func (c Config) withDefaults() Config {
	if c.HTTPPort == 0 {
		c.HTTPPort = defaultHTTPPort
	}
	if c.SwarmPort == 0 {
		c.SwarmPort = defaultSwarmPort
	}
	if c.LeaseTime == 0 {
		c.LeaseTime = defaultLease
	}
	if c.Unknown == "" {
		c.Unknown = Deny
	}
	return c
}

// Validate names every problem at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Interface == "" {
		bad("interface: which network card do the machines hang on?")
	}
	if !c.Address.IsValid() || !c.Address.Addr().Is4() || c.Address.Bits() > 30 {
		bad("address %v: want the server's own IPv4 address with its network, such as 10.77.0.1/24", c.Address)
		return errors.Join(errs...)
	}
	inside := func(what string, a netip.Addr) {
		if !c.Address.Contains(a) {
			bad("%s %v is outside the network %v", what, a, c.Address.Masked())
		}
	}
	if c.PoolFirst.IsValid() || c.PoolLast.IsValid() {
		inside("pool's first address", c.PoolFirst)
		inside("pool's last address", c.PoolLast)
		if c.PoolLast.Less(c.PoolFirst) {
			bad("pool %v to %v: the last address is before the first", c.PoolFirst, c.PoolLast)
		}
	}
	if c.LeaseTime < time.Minute {
		bad("lease time %v is shorter than a boot; use at least 1m", c.LeaseTime)
	}
	switch {
	case c.Unknown != Deny && c.Unknown != Default:
		bad("unknown machines: %q; want %q or %q", c.Unknown, Deny, Default)
	case c.Unknown == Default && c.DefaultImage.IsZero():
		bad("unknown machines get the default image, and there is none")
	}
	badArgs(c.KernelArgs, bad)
	macs, addresses := map[string]bool{}, map[netip.Addr]bool{c.Address.Addr(): true, c.Router: true}
	for _, m := range c.Machines {
		if len(m.MAC) != 6 {
			bad("machine %v: want a MAC address of six bytes", m.MAC)
		}
		if macs[m.MAC.String()] {
			bad("machine %v is there twice", m.MAC)
		}
		macs[m.MAC.String()] = true
		if m.Image.IsZero() {
			bad("machine %v has no image", m.MAC)
		}
		if m.Address.IsValid() {
			inside("machine "+m.MAC.String()+": address", m.Address)
			if addresses[m.Address] {
				bad("machine %v: address %v is taken", m.MAC, m.Address)
			}
			addresses[m.Address] = true
		} else if !c.PoolFirst.IsValid() {
			bad("machine %v has no address, and there is no pool", m.MAC)
		}
		badArgs(m.KernelArgs, bad)
	}
	return errors.Join(errs...)
}

// badArgs refuses what would change the script around the kernel arguments.
func badArgs(args []string, bad func(string, ...any)) {
	for _, arg := range args {
		if arg == "" || arg == "||" || arg == "&&" || strings.ContainsAny(arg, " \t\r\n") || strings.Contains(arg, "${") {
			bad("kernel argument %q: want one word for each argument, without ${, and not || or &&", arg)
		}
	}
}
