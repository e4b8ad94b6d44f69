// Package builder makes an image out of a distribution's packages.
//
// A build takes the steps of Build, in this order: bootstrap installs the
// packages into a folder (debian.go); the kernel is moved out of it and the
// modules that network boot needs are copied into an archive (modules.go); the
// folder becomes the root file (squashfs.go); the root file is cut into hashed
// pieces (images/metainfo); and the catalogue takes everything at once.
//
// All of that happens in one folder beside the catalogue, which is gone when
// Build returns; what a killed build left is removed by the next.
// The swarmboot command is its only caller.
package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/envelope"
)

// Options say what to build.
type Options struct {
	Ref       images.Ref
	From      string   // distribution and suite, as debian:trixie
	Packages  []string // in addition to those a machine needs to boot
	Kernel    string   // package; by default linux-image-<arch>
	Customize string   // program that gets the root folder as its argument before it is packed
	Mirror    string   // URL; by default Debian's, with updates and security fixes
	Arch      string   // GOARCH; by default this computer's

	Catalogue *catalogue.Catalogue
	Key       envelope.PrivateKey // signs the manifest
	Log       *slog.Logger        // what the tools say, at level debug
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
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", o.Ref, err)
	}
	return i, nil
}

func build(ctx context.Context, o Options) (*catalogue.Image, error) {
	suite, err := o.complete()
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

	o.Progress("bootstrap "+o.From, 0, 0)
	if err := bootstrap(ctx, o, suite, work, root); err != nil {
		return nil, err
	}
	o.Progress("kernel and modules", 0, 0)
	release, err := takeKernel(root, kernel)
	if err != nil {
		return nil, err
	}
	if err := archiveModules(ctx, o.Log, root, release, modules); err != nil {
		return nil, err
	}
	if err := makeSquashfs(ctx, o.Log, root, rootImg, func(done, total int64) { o.Progress("squashfs", done, total) }); err != nil {
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

// complete fills in the defaults and refuses early what would fail late. It
// returns the suite of the distribution.
func (o *Options) complete() (suite string, err error) {
	distribution, suite, _ := strings.Cut(o.From, ":")
	if distribution != "debian" || suite == "" {
		return "", fmt.Errorf("cannot build from %q; want debian:SUITE, as debian:trixie", o.From)
	}
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if o.Kernel == "" {
		o.Kernel = "linux-image-" + o.Arch
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	for _, p := range append([]string{o.Kernel}, o.Packages...) {
		if p == "" || strings.ContainsAny(p, ", \t\n") {
			return "", fmt.Errorf("package %q: want one name for each --package", p)
		}
	}
	if o.Customize != "" {
		if o.Customize, err = filepath.Abs(o.Customize); err != nil {
			return "", err
		}
		if info, err := os.Stat(o.Customize); err != nil {
			return "", fmt.Errorf("customize: %w", err)
		} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("customize: %s is not a program; make it executable with chmod +x", o.Customize)
		}
	}
	switch _, err := o.Catalogue.Get(o.Ref); {
	case err == nil:
		return "", catalogue.ErrExists
	case !errors.Is(err, catalogue.ErrNotFound):
		return "", err
	}
	if os.Geteuid() != 0 {
		return "", errors.New("the files of a root belong to many users; run this as root")
	}
	return suite, findTools()
}

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
		return "", nil, fmt.Errorf("another build for %s is running (%w); let it end", dir, err)
	}
	work = filepath.Clean(dir) + ".build"
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
	pieces, data, err := metainfo.Hash(stoppable{ctx, f}, o.Ref.String()+".squashfs", info.Size(), images.DefaultPieceLength, progress)
	if err != nil {
		return images.Pieces{}, err
	}
	return pieces, os.WriteFile(torrent, data, 0o644)
}

// stoppable is a reader that fails once ctx is done.
type stoppable struct {
	ctx context.Context
	io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}
