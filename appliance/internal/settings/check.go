package settings

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"swarmboot/bootserver"
	"swarmboot/images"
)

// hostname is one label of RFC 1123.
var hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// check tells d what in f cannot be meant. A value that did not decode is zero
// here; what is then said about it, d.fail leaves out.
func (f *file) check(d *decoder, offered func(state string) ([]images.Ref, error)) {
	f.checkNetwork(d)
	f.checkMachines(d)
	f.checkImages(d, offered)
	f.checkKernelArgs(d)
}

func (f *file) checkNetwork(d *decoder) {
	if f.Server.Interface == "" {
		d.fail("server.interface", "is missing; name the network card that the machines are on, such as eth1")
	}
	network := f.Server.Address
	switch {
	case !network.IsValid():
		d.fail("server.address", "is missing; give the server's own address with its network, such as 10.77.0.1/24")
	case network.Bits() > 30:
		d.fail("server.address", "the network %v has no room for machines; use /30 or larger", network)
	case network.Addr() == network.Masked().Addr() || network.Addr() == broadcast(network):
		d.fail("server.address", "%v is the network's or its broadcast address; give the server's own", network.Addr())
	default:
		f.checkPool(d)
		if router := f.Network.Router; router.IsValid() {
			if why := misplaced(network, router); why != "" && router != network.Addr() {
				d.fail("network.router", "%v %s", router, why)
			}
		}
	}
	if f.Network.Lease < time.Minute {
		d.fail("network.lease", "%v is shorter than a boot; use at least 1m", f.Network.Lease)
	}
}

func (f *file) checkPool(d *decoder) {
	pool, network := f.Network.Pool, f.Server.Address
	if !pool.First.IsValid() {
		return
	}
	for _, end := range []netip.Addr{pool.First, pool.Last} {
		if why := misplaced(network, end); why != "" {
			d.fail("network.pool", "%v %s", end, why)
		}
	}
	for _, taken := range []netip.Addr{network.Addr(), f.Network.Router} {
		if pool.Contains(taken) {
			d.fail("network.pool", "holds %v, which the server or the router has", taken)
		}
	}
}

// checkMachines looks at each machine and compares it with those before it.
func (f *file) checkMachines(d *decoder) {
	owners := map[string]string{} // of MACs, names and addresses: the path that had it first
	alone := func(path, value string) {
		key := path[strings.LastIndex(path, "."):] + " " + value
		if first, taken := owners[key]; taken {
			d.fail(path, "%s is in line %d already, as %s", value, d.place(first).Line, first)
			return
		}
		owners[key] = path
	}
	for i, m := range f.Machines {
		path := fmt.Sprintf("machines[%d]", i)
		if m.MAC == nil {
			d.fail(path+".mac", "is missing; a machine is known by the MAC address it boots with")
		} else {
			alone(path+".mac", m.MAC.String())
		}
		if m.Name != "" {
			if !hostname.MatchString(m.Name) {
				d.fail(path+".name", "%q is no host name; want lower-case letters, digits and dashes, 63 at most", m.Name)
			}
			alone(path+".name", m.Name)
		}
		f.checkAddress(d, path+".address", m.Address)
		if m.Address.IsValid() {
			alone(path+".address", m.Address.String())
		}
	}
}

// checkAddress looks at a machine's own address.
func (f *file) checkAddress(d *decoder, path string, addr netip.Addr) {
	switch {
	case !addr.IsValid():
		if !f.Network.Pool.First.IsValid() && !d.broken["network.pool"] {
			d.fail(path, "is missing, and there is no network.pool to take one from")
		}
	case f.Network.Pool.Contains(addr):
		d.fail(path, "%v is in the pool %v; take one that no other machine can be given", addr, f.Network.Pool)
	case addr == f.Network.Router:
		d.fail(path, "%v is the router's", addr)
	case f.Server.Address.IsValid():
		if why := misplaced(f.Server.Address, addr); why != "" {
			d.fail(path, "%v %s", addr, why)
		}
	}
}

func (f *file) checkImages(d *decoder, offered func(state string) ([]images.Ref, error)) {
	if f.Unknown == bootserver.Default && f.DefaultImage.IsZero() {
		d.fail("default_image", "is missing; unknown: default needs it")
	}
	if d.broken["state"] {
		return
	}
	refs, err := offered(f.State)
	if err != nil {
		d.fail("state", "%s", oneLine(err))
	}
	if err != nil && len(refs) == 0 {
		return
	}
	exists := func(path string, ref images.Ref) {
		if !ref.IsZero() && !slices.Contains(refs, ref) {
			d.fail(path, "no image %v in %s; %s", ref, f.State, whatExists(refs, ref))
		}
	}
	exists("default_image", f.DefaultImage)
	for i, m := range f.Machines {
		path := fmt.Sprintf("machines[%d].image", i)
		exists(path, m.Image)
		if m.Image.IsZero() && f.DefaultImage.IsZero() && !d.broken["default_image"] {
			d.fail(path, "is missing, and there is no default_image")
		}
	}
}

// checkKernelArgs refuses arguments that are the boot server's to give; whether
// an image is fetched before it is started is the admin's choice.
func (f *file) checkKernelArgs(d *decoder) {
	own := func(path string, args []string) {
		for _, arg := range args {
			if strings.HasPrefix(arg, "swarmboot.") && arg != "swarmboot.prefetch" {
				d.fail(path, "%s is set by the boot server; leave it out", arg)
			}
		}
	}
	own("kernel_args", f.KernelArgs)
	for i, m := range f.Machines {
		own(fmt.Sprintf("machines[%d].kernel_args", i), m.KernelArgs)
	}
}

func whatExists(refs []images.Ref, wanted images.Ref) string {
	if len(refs) == 0 {
		return fmt.Sprintf("there is none yet: make one with 'swarmboot image build %v --from debian:trixie'", wanted)
	}
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = ref.String()
	}
	slices.Sort(names)
	return "there are " + strings.Join(names, ", ")
}

// misplaced tells why no machine of the server's network can have addr.
func misplaced(server netip.Prefix, addr netip.Addr) string {
	switch {
	case !server.Contains(addr):
		return fmt.Sprintf("is outside the network %v", server.Masked())
	case addr == server.Addr():
		return "is the server's own address"
	case addr == server.Masked().Addr():
		return "is the address of the network itself"
	case addr == broadcast(server):
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
