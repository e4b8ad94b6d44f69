package bootserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/bootserver/loaders"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/bootargs"
)

// install is what m writes to its disk while it boots o; zero for a machine that
// writes nothing there. Its digest changes with anything in the settings, the
// server or the image that goes into it: the machine is then installed anew.
func (s *Server) install(m Machine, n Network, o *offer, args []string) (bootargs.Install, error) {
	if m.Install == "" || m.stranger {
		return bootargs.Install{}, nil
	}
	site, arch := s.site.Load(), o.Manifest.Arch
	base := site.base(n)
	i := bootargs.Install{
		Disk: m.Install, Writes: m.writesOn(bootargs.WritesPartition, o.Image),
		Files: []bootargs.InstallFile{
			{Path: bootweb.DiskKernel, URL: base + bootweb.PartPath(o.Image, catalogue.Kernel), SHA256: o.Manifest.Kernel.SHA256},
			{Path: bootweb.DiskModules, URL: base + bootweb.PartPath(o.Image, catalogue.Modules), SHA256: o.Manifest.Modules.SHA256},
			{Path: bootweb.DiskInitramfs, URL: base + bootweb.InitramfsPath + arch, SHA256: s.archive(arch).Digest},
			{Path: bootweb.DiskScript, Content: bootweb.GRUBFromDisk(m.Name+" boots "+o.Manifest.Ref().String(), append(args, bootargs.Local))},
		},
	}
	loader := func(name, path string) (bootargs.InstallFile, error) {
		data, err := os.ReadFile(filepath.Join(site.Loaders, name))
		if err != nil {
			return bootargs.InstallFile{}, fmt.Errorf("install: %w", err)
		}
		return bootargs.InstallFile{Path: path, URL: base + bootweb.LoadersPath + name, SHA256: images.Digest(data)}, nil
	}
	for _, place := range loaders.OnDisk(arch) {
		f, err := loader(place.Name, place.Path)
		if err != nil {
			return bootargs.Install{}, err
		}
		i.Files = append(i.Files, f)
	}
	if name := loaders.OnBIOSDisk(arch); name != "" {
		var err error
		if i.BIOS, err = loader(name, ""); err != nil && !errors.Is(err, fs.ErrNotExist) { // haveLoaders has warned
			return bootargs.Install{}, err
		}
	}
	all, err := json.Marshal(struct {
		bootargs.Install
		Machine Machine
		Image   string
	}{i, m, o.Digest})
	if err != nil {
		return bootargs.Install{}, fmt.Errorf("install: %w", err)
	}
	i.Digest = images.Digest(all)
	return i, nil
}
