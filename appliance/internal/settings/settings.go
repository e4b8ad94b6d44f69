// Package settings reads the admin's one YAML file and gives the boot server
// its Config.
//
// The commands check and serve call Load. It tells every mistake of the file at
// once, each with line and column: decode.go reads the YAML into a file struct,
// scalars.go its single values, and check.go compares them with each other and
// with the catalogue.
package settings

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver"
	"swarmboot/images"

	"go.yaml.in/yaml/v3"
)

// file has the shape of the settings file; the tags are its keys.
type file struct {
	Server struct {
		Interface string       `yaml:"interface"` // network card that the machines are on
		Address   netip.Prefix `yaml:"address"`   // the server's own address there, and its network
		HTTP      uint16       `yaml:"http"`      // TCP port of scripts, kernels, reports and the tracker
		Swarm     uint16       `yaml:"swarm"`     // TCP port of the seeder
	} `yaml:"server"`
	Network struct {
		Pool   bootserver.Range `yaml:"pool"`   // addresses for machines that have none of their own
		Router netip.Addr       `yaml:"router"` // the machines' default route; none if left out
		DNS    []netip.Addr     `yaml:"dns"`    // the machines' name servers
		Lease  time.Duration    `yaml:"lease"`  // how long an address is given out
	} `yaml:"network"`
	Machines     []machine         `yaml:"machines"`
	DefaultImage images.Ref        `yaml:"default_image"` // for machines that name none
	Unknown      bootserver.Policy `yaml:"unknown"`       // what machines not listed get: nothing (deny) or default_image (default)
	KernelArgs   []string          `yaml:"kernel_args"`   // for every machine, before its own
	Rescue       bool              `yaml:"rescue"`        // a machine that cannot boot opens a shell on its console
	State        string            `yaml:"state"`         // folder of images, key, leases and the control socket
	Loaders      string            `yaml:"loaders"`       // folder of undionly.kpxe and snponly.efi
	Initramfs    string            `yaml:"initramfs"`     // the common initramfs
}

type machine struct {
	MAC        net.HardwareAddr `yaml:"mac"`
	Name       string           `yaml:"name"`        // host name; the image's own if left out
	Image      images.Ref       `yaml:"image"`       // default_image if left out
	Address    netip.Addr       `yaml:"address"`     // from the pool if left out
	KernelArgs []string         `yaml:"kernel_args"` // after those for every machine
}

// defaults is what the file says where it says nothing.
func defaults() file {
	var f file
	f.Server.HTTP = 80
	f.Server.Swarm = 6881
	f.Network.Lease = 24 * time.Hour
	f.Unknown = bootserver.Deny
	f.State = state.Default
	f.Loaders = "/usr/lib/swarmboot/loaders"
	f.Initramfs = "/usr/lib/swarmboot/initramfs.cpio.zst"
	return f
}

// Load reads the settings file at path. Files and folders named in it are
// relative to its own folder. offered lists the images of a state folder.
// Mistakes in the file are returned as Problems.
func Load(path string, offered func(state string) ([]images.Ref, error)) (bootserver.Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return bootserver.Config{}, fmt.Errorf("read settings: %w", err)
	}
	return parse(path, data, offered)
}

func parse(path string, data []byte, offered func(state string) ([]images.Ref, error)) (bootserver.Config, error) {
	f := defaults()
	d := &decoder{file: path, places: map[string]*yaml.Node{}, broken: map[string]bool{}}
	d.document(data, &f)
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return bootserver.Config{}, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	for _, name := range []*string{&f.State, &f.Loaders, &f.Initramfs} {
		if !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	f.check(d, offered)
	if len(d.problems) > 0 {
		d.problems.sort()
		return bootserver.Config{}, d.problems
	}
	cfg := f.config()
	if err := cfg.Validate(); err != nil { // what the boot server alone knows, such as how its scripts quote
		return bootserver.Config{}, Problems{{File: path, Text: oneLine(err)}}
	}
	return cfg, nil
}

// config is what f means to the boot server.
func (f file) config() bootserver.Config {
	c := bootserver.Config{
		Networks: []bootserver.Network{{
			Name:      f.Server.Interface,
			Interface: f.Server.Interface,
			Server:    f.Server.Address.Addr(),
			Subnet:    f.Server.Address.Masked(),
			Mode:      bootserver.Full,
			Pool:      f.Network.Pool,
			Router:    f.Network.Router,
			DNS:       f.Network.DNS,
			Lease:     f.Network.Lease,
			Unknown:   f.Unknown,
			Boot:      bootserver.Boot{Image: f.DefaultImage, KernelArgs: f.KernelArgs, Rescue: f.Rescue},
		}},
		HTTPPort:  f.Server.HTTP,
		SwarmPort: f.Server.Swarm,
		State:     f.State,
		Loaders:   f.Loaders,
		Initramfs: f.Initramfs,
	}
	for _, m := range f.Machines {
		if m.Image.IsZero() {
			m.Image = f.DefaultImage
		}
		c.Machines = append(c.Machines, bootserver.Machine{
			MAC: m.MAC, Name: m.Name, Network: f.Server.Interface, Address: m.Address,
			Boot: bootserver.Boot{Image: m.Image, KernelArgs: slices.Concat(f.KernelArgs, m.KernelArgs), Rescue: f.Rescue},
		})
	}
	return c
}

// oneLine joins the lines of a joined error.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
