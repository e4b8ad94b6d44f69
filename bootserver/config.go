package bootserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/loaders"
	"swarmboot/images"
	"swarmboot/images/origin"
	"swarmboot/initramfs/bootargs"
)

// Policy is what machines get that are not in the config.
type Policy string

const (
	Deny     Policy = "deny"     // no answer
	Default  Policy = "default"  // the network's image
	Discover Policy = "discover" // our initramfs alone, which tells what the machine is and waits to be adopted
)

// Mode is how far the server is a network's DHCP server.
type Mode string

const (
	Full         Mode = "full"         // addresses and boot information for all
	Proxy        Mode = "proxy"        // boot information only; another server gives the addresses
	Reservations Mode = "reservations" // full for listed machines; silent to others, which another server may answer
	Off          Mode = "off"          // no DHCP at all: another server names our loaders
)

// Ports and times that a Config without them gets.
const (
	defaultHTTPPort  = 80
	defaultSwarmPort = 6881
	defaultLease     = 24 * time.Hour
	defaultPoll      = time.Minute // of the origin's tags: as often as somebody looks who has just moved one
)

// Config says which networks the server boots, and what each machine gets. It
// is complete: what machines inherit from their rack, group or network stands
// in each of them.
type Config struct {
	Networks  []Network // one at least
	Machines  []Machine
	HTTPPort  uint16 // 80
	SwarmPort uint16 // 6881, on the server; machines use theirs
	State     string // folder of leases and profiles
	Loaders   string // folder that swarmboot loaders fetch has filled
	Initramfs string // file, made by initramfs/cmd/mkinitramfs

	Origin origin.Config // where images come from that the catalogue lacks; zero: nowhere
}

// Network is one IPv4 network of machines, perhaps with IPv6 besides.
type Network struct {
	Name      string
	Interface string       // the network card that it is on; empty: it is reached through relays only
	Server    netip.Addr   // this server as its machines reach it; outside Subnet only where there are relays
	Subnet    netip.Prefix // the machines' addresses, masked
	Mode      Mode         // full
	Pool      Range        // addresses for machines without one of their own; may be empty

	Server6 netip.Addr   // as Server, for IPv6; invalid: none
	Subnet6 netip.Prefix // as Subnet
	Pool6   Range        // as Pool

	Router netip.Addr   // default gateway; may be invalid: none
	DNS    []netip.Addr // name servers
	NTP    []netip.Addr // time servers
	Log    []netip.Addr // log servers
	Domain string       // domain name of the machines; may be empty
	Routes []Route      // besides the default route
	Lease  time.Duration

	Unknown Policy // deny
	Boot           // of machines that are not listed
}

// Range is the addresses from First to Last, both included. The zero Range is
// empty.
type Range struct{ First, Last netip.Addr }

// Contains tells whether a is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return r.First.IsValid() && a.IsValid() && !a.Less(r.First) && !r.Last.Less(a)
}

// String is FIRST-LAST, as in the settings file.
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// Route leads to a network by way of a router.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Boot is what a machine boots.
type Boot struct {
	Image      images.Ref
	KernelArgs []string
	Loader     loaders.Policy // empty: loaders.GRUB
	Rescue     bool           // open a shell on the console if the boot fails

	// BootFromPeers has kernel and initramfs come from a machine of the same rack
	// where one is ready, and the machine be one for others.
	BootFromPeers bool

	Cache          string       // name of the partition that pieces are kept on; empty: none
	Persistent     string       // name of the partition that keeps what the machine writes; empty: none
	PersistentOver Over         // OverVersion
	Install        string       // disk that the image is written to, to start from there; empty: none
	AuthorizedKeys []string     // SSH keys by which root logs in, besides the image's own
	Files          []File       // that the machine has in place of the image's
	NetworkSetup   NetworkSetup // ImageSetup
	UserData       File         // for cloud-init, by its path here; empty: none
}

// Over is what a machine's writes on disk are laid over.
type Over string

const (
	OverVersion Over = "version" // each version of an image has writes of its own
	OverImage   Over = "image"   // all versions of an image have the same
)

// NetworkSetup is who configures the booting card in the running system.
type NetworkSetup string

const (
	ImageSetup NetworkSetup = "image" // what the image says; init has configured the card already
	DHCPSetup  NetworkSetup = "dhcp"  // the image's network service, told to keep the card by DHCP
)

// File is one that a machine gets. Its content may be a secret: it is neither
// shown nor told to whoever asks for the config.
type File struct {
	Path    string      `json:"path"`
	Mode    fs.FileMode `json:"mode"`
	Content string      `json:"-"`
	Digest  string      `json:"digest"` // SHA-256 of Content, by which a change is seen
}

// NewFile is a File with its digest.
func NewFile(path string, mode fs.FileMode, content string) File {
	return File{Path: path, Mode: mode, Content: content, Digest: images.Digest([]byte(content))}
}

// String tells everything but the content.
func (f File) String() string {
	if f.Path == "" {
		return ""
	}
	return fmt.Sprintf("%s (%04o, %.12s)", f.Path, uint32(f.Mode), f.Digest)
}

// Machine is one machine that the admin has named.
type Machine struct {
	MAC      net.HardwareAddr // of the card it boots from
	Name     string           // host name; empty leaves the image's own
	Rack     string           // where it stands; may be empty
	Group    string           // what it is for; may be empty
	Network  string           // name of the network that it boots on
	Address  netip.Addr       // may be invalid: from the pool
	Address6 netip.Addr       // may be invalid: from the pool
	Boot
	stranger bool // it is not listed, and boots its network's kernel to tell what it is
}

// shown is the image that a machine is said to boot: a stranger boots none.
func (m Machine) shown() string {
	if m.stranger {
		return ""
	}
	return m.Image.String()
}

// known is what is told to the fleet of m.
func (m Machine) known() fleet.Machine {
	return fleet.Machine{MAC: m.MAC.String(), Name: m.Name, Image: m.shown()}
}

// known are the listed machines.
func (c Config) known() []fleet.Machine {
	all := make([]fleet.Machine, len(c.Machines))
	for i, m := range c.Machines {
		all[i] = m.known()
	}
	return all
}

// WithDefaults fills in what is left out.
func (c Config) WithDefaults() Config {
	if c.HTTPPort == 0 {
		c.HTTPPort = defaultHTTPPort
	}
	if c.SwarmPort == 0 {
		c.SwarmPort = defaultSwarmPort
	}
	if c.Origin.Poll == 0 {
		c.Origin.Poll = defaultPoll
	}
	networks := make([]Network, len(c.Networks))
	for i, n := range c.Networks {
		if n.Lease == 0 {
			n.Lease = defaultLease
		}
		if n.Mode == "" {
			n.Mode = Full
		}
		if n.Unknown == "" {
			n.Unknown = Deny
		}
		networks[i] = n
	}
	c.Networks = networks
	return c
}

// Images are all that the config names, each once, in the order of their names.
func (c Config) Images() []images.Ref { return c.imagesOf(func(Boot) bool { return true }) }

// imagesOf are the images of those machines, and of unknown ones, that a filter
// chooses.
func (c Config) imagesOf(chosen func(Boot) bool) []images.Ref {
	var refs []images.Ref
	for _, n := range c.Networks {
		if n.Unknown != Deny && chosen(n.Boot) {
			refs = append(refs, n.Image)
		}
	}
	for _, m := range c.Machines {
		if chosen(m.Boot) {
			refs = append(refs, m.Image)
		}
	}
	slices.SortFunc(refs, func(a, b images.Ref) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs)
}

// network finds a network by its name.
func (c Config) network(name string) (Network, bool) {
	for _, n := range c.Networks {
		if n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

// Validate names every problem at once. It is the boot server's own check of
// what it relies on; package settings tells the same and more with lines.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Networks) == 0 {
		bad("there is no network; which one do the machines hang on?")
	}
	if c.Origin.URL != "" {
		if err := c.Origin.Validate(); err != nil {
			bad("origin: %w", err)
		}
	}
	names, networks := map[string]bool{}, map[string]bool{}
	for _, n := range c.Networks {
		if names[n.Name] {
			bad("network %q is there twice", n.Name)
		}
		names[n.Name] = true
		if n.Interface != "" && networks[n.Interface] {
			bad("network %s: interface %s has a network already", n.Name, n.Interface)
		}
		networks[n.Interface] = true
		n.validate(func(format string, args ...any) { bad("network "+n.Name+": "+format, args...) })
	}
	macs, addresses := map[string]bool{}, map[netip.Addr]bool{}
	for _, n := range c.Networks {
		addresses[n.Server], addresses[n.Router] = true, true
	}
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
		n, ok := c.network(m.Network)
		switch {
		case !ok:
			bad("machine %v: there is no network %q", m.MAC, m.Network)
		case m.Address.IsValid() && !n.Subnet.Contains(m.Address):
			bad("machine %v: address %v is outside the network %v", m.MAC, m.Address, n.Subnet)
		case m.Address.IsValid() && addresses[m.Address]:
			bad("machine %v: address %v is taken", m.MAC, m.Address)
		case !m.Address.IsValid() && !n.Pool.First.IsValid() && (n.Mode == Full || n.Mode == Reservations):
			bad("machine %v has no address, and network %s has no pool", m.MAC, n.Name)
		}
		if m.Address.IsValid() {
			addresses[m.Address] = true
		}
		m.validate(func(format string, args ...any) { bad("machine "+m.MAC.String()+": "+format, args...) })
	}
	return errors.Join(errs...)
}

func (n Network) validate(bad func(string, ...any)) {
	if !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() || n.Subnet.Bits() > 30 {
		bad("%v: want an IPv4 network with room for machines, such as 10.77.0.0/24", n.Subnet)
		return
	}
	if !n.Server.Is4() || n.Interface != "" && !n.Subnet.Contains(n.Server) {
		bad("server's address %v: want one in %v", n.Server, n.Subnet)
	}
	if n.Pool.First.IsValid() || n.Pool.Last.IsValid() {
		for _, end := range []netip.Addr{n.Pool.First, n.Pool.Last} {
			if !n.Subnet.Contains(end) {
				bad("%v, an end of the pool, is outside the network %v", end, n.Subnet)
			}
		}
		if n.Pool.Last.Less(n.Pool.First) {
			bad("pool %v: the last address is before the first", n.Pool)
		}
	}
	if n.Lease < time.Minute {
		bad("lease time %v is shorter than a boot; use at least 1m", n.Lease)
	}
	switch n.Mode {
	case Full, Proxy, Reservations, Off:
	default:
		bad("mode %q: want %s, %s, %s or %s", n.Mode, Full, Proxy, Reservations, Off)
	}
	switch {
	case n.Unknown != Deny && n.Unknown != Default && n.Unknown != Discover:
		bad("unknown machines: %q; want %s, %s or %s", n.Unknown, Deny, Default, Discover)
	case n.Unknown != Deny && n.Image.IsZero():
		bad("unknown machines boot the network's image, or at least its kernel, and there is none")
	}
	n.Boot.validate(bad)
}

// CheckDisks tells what in b would have two things on one disk.
func (b Boot) CheckDisks() error {
	switch {
	case b.Install != "" && !bootargs.ValidDisk(b.Install):
		return fmt.Errorf("install: %q is no disk; want the name that Linux gives it, such as nvme0n1 or sda", b.Install)
	case b.Install != "" && (b.Cache != "" || b.Persistent != ""):
		return errors.New("install: a machine that starts from its disk has neither cache nor persistent; leave them out for it")
	case b.Persistent != "" && b.Persistent == b.Cache:
		return fmt.Errorf("partition %q is both cache and persistent; want one for each", b.Cache)
	}
	return nil
}

func (b Boot) validate(bad func(string, ...any)) {
	if b.Loader != "" && !slices.Contains(loaders.Policies, b.Loader) {
		bad("loader %q: want one of %v", b.Loader, loaders.Policies)
	}
	if b.BootFromPeers && b.Loader == loaders.SecureBoot {
		bad("boot_from_peers with loader %s: nobody would verify the initramfs that another machine serves; choose one of the two", b.Loader)
	}
	if err := b.CheckDisks(); err != nil {
		bad("%v", err)
	}
	// What would change the script around the kernel arguments is refused, and
	// quotes and backslashes, which GRUB passes on in a way of its own.
	for _, arg := range b.KernelArgs {
		if arg == "" || arg == "||" || arg == "&&" || strings.ContainsAny(arg, " \t\r\n'\"\\") || strings.Contains(arg, "${") {
			bad("kernel argument %q: want one word for each argument, without ${, quotes and backslashes, and not || or &&", arg)
		}
	}
}
