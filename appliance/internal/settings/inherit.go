package settings

import (
	"fmt"
	"slices"
	"strings"

	"swarmboot/bootserver"
	"swarmboot/bootserver/loaders"
	"swarmboot/images"
	"swarmboot/images/origin"
)

// A place is where a machine stands in the file: the names of what it inherits
// from, each of which may be empty, and its own entry.
type place struct {
	network, rack, group string
	entry                int // index of its entry; noEntry: it is not listed
}

const noEntry = -1

// A level is one place that boot values come from.
type level struct {
	path string
	Boot
}

// levels of p, the outermost first.
func (f *File) levels(p place) []level {
	all := []level{{"defaults", f.Defaults}}
	if n, ok := f.Networks[p.network]; ok {
		all = append(all, level{"networks." + p.network, n.Boot})
	}
	if r, ok := f.Racks[p.rack]; ok {
		all = append(all, level{"racks." + p.rack, r.Boot})
	}
	if g, ok := f.Groups[p.group]; ok {
		all = append(all, level{"groups." + p.group, g.Boot})
	}
	if p.entry != noEntry {
		all = append(all, level{item("machines", p.entry), f.Machines[p.entry].Boot})
	}
	return all
}

// inherit puts the levels of p together.
func (c *checker) inherit(p place) bootserver.Boot {
	var boot bootserver.Boot
	fromPeers := "" // where boot_from_peers stands
	for _, l := range c.file.levels(p) {
		if ref, ok := c.refs[l.path+".image"]; ok {
			boot.Image = ref
		}
		if l.Loader != "" {
			boot.Loader = l.Loader
		}
		if l.Rescue != nil {
			boot.Rescue = *l.Rescue
		}
		if l.BootFromPeers != nil {
			boot.BootFromPeers, fromPeers = *l.BootFromPeers, l.path+".boot_from_peers"
		}
		if l.NetworkSetup != "" {
			boot.NetworkSetup = l.NetworkSetup
		}
		if l.Cache != "" {
			boot.Cache = string(l.Cache)
		}
		if l.Persistent != "" {
			boot.Persistent = string(l.Persistent)
		}
		if l.PersistentOver != "" {
			boot.PersistentOver = l.PersistentOver
		}
		if l.Install != "" {
			boot.Install = string(l.Install)
		}
		if data, ok := c.userData[l.path]; ok {
			boot.UserData = data
		}
		boot.KernelArgs = append(boot.KernelArgs, l.KernelArgs...)
		for _, key := range l.AuthorizedKeys {
			boot.AuthorizedKeys = append(boot.AuthorizedKeys, string(key))
		}
	}
	if boot.BootFromPeers && boot.Loader == loaders.SecureBoot {
		c.fail(fromPeers, "is of no use with loader: secure-boot: nobody would verify the initramfs that another machine serves; take one of the two away")
	}
	return boot
}

// imageBroken tells whether an image at one of p's levels is wrong: then there
// is nothing more to say about what p boots.
func (c *checker) imageBroken(p place) bool {
	return slices.ContainsFunc(c.file.levels(p), func(l level) bool { return c.broken[l.path+".image"] || c.broken[l.path] })
}

// checkImages finds what the image values stand for, and checks the rest of
// each level.
func (c *checker) checkImages(offered Offered) {
	c.refs = map[string]images.Ref{}
	readable := !c.broken["server.state"]
	if readable {
		c.offered, c.unoffered = offered(c.file.Server.State)
		if c.unoffered != nil && len(c.offered) == 0 {
			c.fail("server.state", "%s", oneLine(c.unoffered))
			readable = false
		}
	}
	// Those that stand for an image itself come first, so that what is wrong
	// with it is told there.
	for _, name := range c.order["images"] {
		if strings.Contains(string(c.file.Images[name]), "@") {
			c.image("images."+name, c.file.Images[name], readable)
		}
	}
	for _, name := range c.order["images"] {
		c.image("images."+name, c.file.Images[name], readable)
	}
	check := func(path string, b Boot) {
		if b.Image != "" {
			c.image(path+".image", b.Image, readable)
		}
		c.checkKernelArgs(path+".kernel_args", b.KernelArgs)
		c.checkFiles(path, b)
		c.checkPower(path, b)
	}
	check("defaults", c.file.Defaults)
	for _, name := range c.order["networks"] {
		check("networks."+name, c.file.Networks[name].Boot)
	}
	for _, name := range c.order["racks"] {
		check("racks."+name, c.file.Racks[name].Boot)
	}
	for _, name := range c.order["groups"] {
		check("groups."+name, c.file.Groups[name].Boot)
	}
	for i, m := range c.file.Machines {
		check(item("machines", i), m.Boot)
	}
}

func (c *checker) checkOrigin() {
	if !c.has("origin") {
		return
	}
	if c.file.Origin.URL == "" {
		c.fail("origin.url", "is missing; say where the store is, such as https://HOST/PATH or s3:https://HOST/BUCKET")
		return
	}
	if err := origin.Config(c.file.Origin).Validate(); err != nil {
		c.fail("origin.url", "%v", err)
	}
	if poll := c.file.Origin.Poll; poll != 0 && poll < origin.MinPoll {
		c.fail("origin.poll", "%v is too often for a store that others use too; want %v at least", poll, origin.MinPoll)
	}
}

// image notes what the image value at path stands for: an image by its name, or
// by one of the admin's own, which may stand for another of them. Where one of
// those is wrong, it is told at that one alone.
func (c *checker) image(path string, value Image, readable bool) {
	var names []string
	for !strings.Contains(string(value), "@") {
		name := string(value)
		next, known := c.file.Images[name]
		switch {
		case name == "":
			c.fail(path, "is missing; want NAME@VERSION, or a name under images")
			return
		case !known:
			c.fail(path, "%q is neither NAME@VERSION nor a name under images%s", name, c.suggest(name, c.order["images"]))
			return
		case c.broken["images."+name]:
			c.broken[path] = true
			return
		case slices.Contains(names, name):
			c.fail(path, "goes round in a circle: %s", strings.Join(append(names, name), ", "))
			for _, name := range names {
				c.broken["images."+name] = true
			}
			return
		}
		names = append(names, name)
		value = next
	}
	ref, err := images.ParseRef(string(value))
	switch {
	case err != nil:
		c.fail(path, "%v", err)
	case readable && !slices.Contains(c.offered, ref) && c.file.Origin.URL == "": // else the origin may have it
		c.fail(path, "no image %v in %s; %s", ref, c.file.Server.State, c.whatExists(ref))
	default:
		c.refs[path] = ref
	}
}

func (c *checker) whatExists(wanted images.Ref) string {
	if len(c.offered) == 0 {
		return fmt.Sprintf("there is none yet: make one with 'swarmboot image build %v --from debian:trixie'", wanted)
	}
	names := make([]string, len(c.offered))
	for i, ref := range c.offered {
		names[i] = ref.String()
	}
	slices.Sort(names)
	exist := "there are " + strings.Join(names, ", ")
	if c.unoffered != nil {
		exist += "; " + oneLine(c.unoffered)
	}
	return exist
}

// maxKernelArgs leaves room for our own among the 2048 bytes that x86 kernels
// take (COMMAND_LINE_SIZE).
const maxKernelArgs = 1600

// checkKernelArgs refuses arguments that are the boot server's to give; whether
// an image is fetched before it is started is the admin's choice. And none may
// change the loader's script around it.
func (c *checker) checkKernelArgs(path string, args []string) {
	for _, arg := range args {
		switch {
		case strings.HasPrefix(arg, "swarmboot.") && arg != "swarmboot.prefetch" && arg != "swarmboot.trace":
			c.fail(path, "%s is set by the boot server; leave it out", arg)
		case strings.ContainsAny(arg, " \t\r\n"):
			c.fail(path, "%q holds a space; write each argument as an item of its own", arg)
		case strings.ContainsAny(arg, `'"\`):
			c.fail(path, "%q holds a quote or a backslash, which loaders pass on in ways of their own; leave it out", arg)
		case arg == "||" || arg == "&&" || strings.Contains(arg, "${"):
			c.fail(path, "%q means something to the loader's script; leave it out", arg)
		}
	}
}
