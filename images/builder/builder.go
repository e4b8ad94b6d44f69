// Package builder makes an image out of a root file system and a kernel.
//
// A build takes the steps of Build, in this order: the root comes from its
// source into a folder (source.go), which for a distribution means to install
// its packages (debian.go) and for all else is the work of package importer;
// the root is made fit for many machines without disks (adapt.go); the kernel
// is moved out of it (kernel.go) and the modules that network boot needs are
// copied into an archive (modules.go); the folder becomes the root file
// (squashfs.go); the root file is cut into hashed pieces (images/metainfo); and
// the catalogue takes everything at once.
//
// All of that happens in one folder beside the catalogue, which is gone when
// Build returns; what a killed build left is removed by the next, or by Collect.
// The swarmboot command is its only caller.
package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/internal/ctxio"
	"swarmboot/images/internal/tool"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/envelope"
)

// Options say what to build.
type Options struct {
	Ref        images.Ref
	From       string   // source of the root: debian:SUITE or as parseSource tells
	KernelFrom string   // source of kernel and modules; by default that of the root
	Kernel     string   // of Debian the package, by default linux-image-<arch>; else the release of one of several
	Packages   []string // of Debian, in addition to those a machine needs to boot
	Customize  string   // program that gets the root folder as its argument before it is packed
	Mirror     string   // URL; by default Debian's, with updates and security fixes
	Arch       string   // GOARCH; by default this computer's
	Hot        []string // files that a boot opens, in its order (absolute paths): they go to the front of the root file
	Epoch      int64    // seconds; what a build writes counts as written then at the latest. 0: by the age of the source

	Catalogue *catalogue.Catalogue
	Key       envelope.Signer // signs the manifest
	Log       *slog.Logger    // what the tools say, at level debug
	Warn      func(string)    // is told what of the root the image cannot have
	// Progress is told what is going on: a step in words, and how far it is.
	// Total is 0 for a step whose length isn't known.
	Progress func(step string, done, total int64)
}

// Build makes the image and adds it to the catalogue. It must run as root,
// because the files of a root belong to many users.
func Build(ctx context.Context, o Options) (*catalogue.Image, error) {
	i, err := build(ctx, o)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // not what the stop did to the tools
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w; it takes the root unpacked and packed, beside %s: make room there, as by 'swarmboot image gc --keep 3'", err, o.Catalogue.Dir())
	}
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", o.Ref, err)
	}
	return i, nil
}

func build(ctx context.Context, o Options) (*catalogue.Image, error) {
	from, kernelFrom, err := o.complete()
	if err != nil {
		return nil, err
	}
	work, remove, err := openWork(o.Catalogue.Dir())
	if err != nil {
		return nil, err
	}
	defer remove()
	var (
		root    = filepath.Join(work, "root")
		kernel  = filepath.Join(work, "kernel")
		modules = filepath.Join(work, "modules.cpio.zst")
		rootImg = filepath.Join(work, "root.squashfs")
		torrent = filepath.Join(work, "torrent")
	)

	o.Progress("unpack "+from.String(), 0, 0)
	if err := from.unpack(ctx, o, filepath.Join(work, "source"), root); err != nil {
		return nil, err
	}
	if o.Epoch == 0 {
		if o.Epoch, err = newest(root, from); err != nil {
			return nil, err
		}
	}
	want := o.Kernel
	if from.kind == "debian" {
		want = "" // the package is in the root, alone
	} else if o.Customize != "" {
		o.Progress("customize", 0, 0)
		if err := customize(ctx, o, root); err != nil {
			return nil, err
		}
	}
	if kernelFrom != (source{}) {
		o.Progress("kernel from "+kernelFrom.String(), 0, 0)
		if want, err = addKernel(ctx, o, kernelFrom, filepath.Join(work, "kernel-source"), root); err != nil {
			return nil, err
		}
	}
	if err := adapt(root, o); err != nil {
		return nil, fmt.Errorf("root from %s: %w", from, err)
	}
	o.Progress("kernel and modules", 0, 0)
	release, moduleDir, err := takeKernel(root, want, kernel)
	if err != nil {
		return nil, fmt.Errorf("root from %s: %w", from, err)
	}
	if err := indexModules(ctx, o, root, moduleDir); err != nil {
		return nil, err
	}
	if err := archiveModules(ctx, o.Log, moduleDir, modules); err != nil {
		return nil, err
	}
	if err := dropACLs(root, o.Warn); err != nil {
		return nil, err
	}
	if err := makeSquashfs(ctx, o.Log, root, rootImg, o.Hot, o.Epoch, func(done, total int64) { o.Progress("squashfs", done, total) }); err != nil {
		return nil, err
	}
	pieces, err := hash(ctx, o, rootImg, torrent)
	if err != nil {
		return nil, err
	}
	o.Progress("catalogue", 0, 0)
	m := images.Manifest{
		Format: images.Format, Name: o.Ref.Name, Version: o.Ref.Version, Arch: o.Arch,
		KernelRelease: release, Filesystem: "squashfs", Pieces: pieces,
	}
	return o.Catalogue.Add(ctx, o.Key, m, map[catalogue.Part]string{
		catalogue.Kernel: kernel, catalogue.Modules: modules, catalogue.Root: rootImg, catalogue.Torrent: torrent,
	})
}

// Validate tells what was asked for that no build can do.
func (o Options) Validate() error {
	from, _, err := o.sources()
	if err != nil {
		return err
	}
	if o.Arch != "" && o.Arch != "amd64" && o.Arch != "arm64" {
		return fmt.Errorf("processor %q: want amd64 or arm64", o.Arch)
	}
	if len(o.Packages) > 0 && from.kind != "debian" {
		return fmt.Errorf("packages are installed into a root from debian:, not into one from %s:; a --customize program may do it", from.kind)
	}
	for _, p := range append([]string{o.debianKernel()}, o.Packages...) {
		if p == "" || strings.ContainsAny(p, ", \t\n") {
			return fmt.Errorf("package %q: want one name for each --package", p)
		}
	}
	return nil
}

// sources are where root and kernel come from; without KernelFrom the second is
// zero.
func (o Options) sources() (from, kernelFrom source, err error) {
	if from, err = parseSource(o.From); err == nil && o.KernelFrom != "" {
		kernelFrom, err = parseSource(o.KernelFrom)
	}
	return from, kernelFrom, err
}

// complete fills in the defaults and refuses early what would fail late. It
// returns the sources.
func (o *Options) complete() (from, kernelFrom source, err error) {
	fail := func(err error) (source, source, error) { return source{}, source{}, err }
	if err := o.Validate(); err != nil {
		return fail(err)
	}
	if from, kernelFrom, err = o.sources(); err != nil {
		return fail(err)
	}
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Customize != "" {
		if o.Customize, err = filepath.Abs(o.Customize); err != nil {
			return fail(err)
		}
		if info, err := os.Stat(o.Customize); err != nil {
			return fail(fmt.Errorf("customize: %w", err))
		} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return fail(fmt.Errorf("customize: %s is not a program; make it executable with chmod +x", o.Customize))
		}
	}
	switch _, err := o.Catalogue.Get(o.Ref); {
	case err == nil:
		return fail(catalogue.ErrExists)
	case !errors.Is(err, catalogue.ErrNotFound):
		return fail(err)
	}
	if os.Geteuid() != 0 {
		return fail(errors.New("the files of a root belong to many users; run this as root"))
	}
	return from, kernelFrom, tool.Need(tool.Depmod, tool.Mksquashfs)
}

// adapt makes the folder a root that many machines can boot.
func adapt(dir string, o Options) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := check(root, o.Arch); err != nil {
		return err
	}
	return generalize(root, o.Epoch)
}

func workFolder(catalogue string) string { return filepath.Clean(catalogue) + ".build" }

// errBuilding says that another build has the work folder.
var errBuilding = errors.New("another build is running; let it end")

// openWork makes an empty folder beside the catalogue in dir, on the same file
// system and safe from cleaners of /tmp. One build at a time may have it, so
// whatever is in it belonged to a build that was killed.
func openWork(dir string) (work string, remove func(), err error) {
	lock, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errBuilding
		}
		return "", nil, fmt.Errorf("%s: %w", dir, err)
	}
	work = workFolder(dir)
	err = os.RemoveAll(work)
	if err == nil {
		err = os.Mkdir(work, 0o711) // apt downloads as a user of its own, who must get through
	}
	if err != nil {
		lock.Close()
		return "", nil, err
	}
	return work, func() {
		os.RemoveAll(work)
		lock.Close()
	}, nil
}

// Collect removes what a killed build has left beside a catalogue, unless another
// is running.
func Collect(c *catalogue.Catalogue) error {
	if _, err := os.Lstat(workFolder(c.Dir())); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, remove, err := openWork(c.Dir())
	if errors.Is(err, errBuilding) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove what a build has left: %w", err)
	}
	remove()
	return nil
}

// hash cuts the root file into pieces and writes their torrent.
func hash(ctx context.Context, o Options, rootImg, torrent string) (images.Pieces, error) {
	f, err := os.Open(rootImg)
	if err != nil {
		return images.Pieces{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return images.Pieces{}, err
	}
	progress := func(n int64) { o.Progress("hash", n, info.Size()) }
	pieces, data, err := metainfo.Hash(ctxio.NewReader(ctx, f), o.Ref.String()+".squashfs", info.Size(), images.DefaultPieceLength, progress)
	if err != nil {
		return images.Pieces{}, err
	}
	return pieces, os.WriteFile(torrent, data, 0o644)
}
