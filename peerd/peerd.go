// Package peerd is the peer daemon of a machine: it gives the machine its root
// while the image is still arriving, and passes the image on to others.
//
// It is two processes. The root server (RunRoot) has the image file in memory,
// the FUSE file system with it, and the loop device that init mounts; it is
// small and never ends before the machine does, because a file system does not
// forget a failed read. The swarm engine (RunEngine) has the torrent client;
// the root server starts it, watches it and starts it again, and fetches what
// reads wait for over plain HTTP when it brings nothing.
//
// A read that misses goes: kernel, loop device, rootfs, piecestore (which now
// wants the piece), demand.go (tells the engine; after a while asks the boot
// server), engine.go and enginelink (carry the order out and the piece back),
// piecestore (verifies, writes, wakes the read). When the last piece is here,
// handover.go moves the loop device to the finished file. On machines with a
// cache, cache.go brings what an earlier boot has left on disk before the engine
// asks others, and keeps what arrives. Once all else is done, install.go has the
// image written to the machine's disk, and bootfiles.go serves kernel and initramfs
// to the loaders of rack mates, each where the boot description says so.
//
// cmd/peerd is the only caller; init starts it.
package peerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"

	"swarmboot/images"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd/internal/piececache"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/internal/rootfs"
	"swarmboot/peerd/swarm"
)

// RootConfig is what the root server has to know.
type RootConfig struct {
	Description  bootargs.Description // verified by init
	Trusted      []envelope.PublicKey // who may sign the image's manifest
	Dir          string               // folder for the image file and the FUSE mount
	LoopDevice   string               // such as /dev/loop0; init mounts it when told "ready"
	Server       string               // base URL for stage reports
	Listen       netip.AddrPort       // TCP port of the swarm
	ListenBoot   netip.AddrPort       // TCP port where kernel and initramfs are served, if the description says so
	Engine       []string             // argv of the swarm engine, run from this executable
	Installer    []string             // argv of what writes the image to the disk, likewise; where the description asks for it
	Prefetch     bool                 // the image is fetched and handed over before it can be mounted
	ReadyFile    string               // appears when the system has reached its login
	StatusSocket string               // abstract unix socket of the status, with its '@'
	Log          *slog.Logger

	// Progress is told once a second how much of the image has come, until it
	// returns an error: then nobody listens any more.
	Progress func(stage.Progress) error
}

// rootServer is the root server while it runs.
type rootServer struct {
	cfg      RootConfig
	image    images.Manifest
	store    *piecestore.Store
	cache    *piececache.Cache // on a disk; nil: the machine has none
	engine   *engine
	fallback *fallback
	reporter *reporter
	rates    rates
	log      *slog.Logger

	bootFiles atomic.Pointer[bootFiles] // once they are served to others
}

// RunRoot serves the machine's root and keeps it served until ctx is done. It
// calls ready as soon as the loop device can be mounted. An error means that the
// loop device could not be set up; later faults are logged and lived with.
func RunRoot(ctx context.Context, cfg RootConfig, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newRootServer(cfg)
	if err != nil {
		return err
	}
	defer s.store.Close()

	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before waiting
	s.reporter.reached(stage.Swarm)
	wg.Go(func() {
		if s.cache != nil {
			s.recall(ctx) // what is here needs nobody else
			wg.Go(func() { s.remember(ctx) })
		}
		s.engine.run(ctx)
	})
	wg.Go(func() { s.fallback.run(ctx) })
	wg.Go(func() { s.reporter.run(ctx) })
	status := s.listenStatus() // before anyone is told that we are ready
	wg.Go(func() { s.serveStatus(ctx, status) })

	root, err := s.attach(ctx)
	if err != nil {
		return err
	}
	wg.Go(func() { s.tellProgress(ctx) })
	if cfg.Prefetch {
		s.engine.SetPace(swarm.Full)
		s.handOver(ctx, root)
	}
	ready()
	wg.Go(func() { s.watchSystem(ctx) })
	if !cfg.Prefetch {
		s.handOver(ctx, root)
	}
	wg.Go(func() { s.serveBoot(ctx) })
	s.install(ctx)
	<-ctx.Done()
	return nil
}

// newRootServer checks what the boot description promises and makes the image
// file.
func newRootServer(cfg RootConfig) (*rootServer, error) {
	d := cfg.Description
	manifest, _, err := images.OpenManifest(cfg.Trusted, d.Manifest)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", d.Image, err)
	}
	if manifest.Ref().String() != d.Image {
		return nil, fmt.Errorf("image %s: the manifest is that of %s", d.Image, manifest.Ref())
	}
	if err := manifest.Torrent.Verify(bytes.NewReader(d.Torrent)); err != nil {
		return nil, fmt.Errorf("image %s: torrent: %w", d.Image, err)
	}
	seeder, err := netip.ParseAddrPort(d.Seeder)
	if err != nil {
		return nil, fmt.Errorf("image %s: seeder: %w", d.Image, err)
	}
	folder := filepath.Join(cfg.Dir, "image")
	if err := piecestore.MountMemory(folder, manifest.Pieces.Size); err != nil {
		return nil, fmt.Errorf("image %s: %w", d.Image, err)
	}
	store, err := piecestore.Create(filepath.Join(folder, "root"), manifest.Pieces)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", d.Image, err)
	}
	cache, err := openCache(d.Cache, manifest.Pieces)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}

	s := &rootServer{cfg: cfg, image: manifest, store: store, cache: cache, log: cfg.Log.With("machine", d.Machine, "image", d.Image)}
	s.engine = newEngine(cfg, seeder, store, s.log)
	s.fallback = newFallback(d.RootURL, store, s.engine, s.log)
	s.reporter = newReporter(stage.NewClient(cfg.Server), d.Machine, d.Image, s.progress, s.log)
	s.reporter.detail = s.detail
	return s, nil
}

// progress counts for reports and status what all parts of peerd have done.
func (s *rootServer) progress() *stage.Progress {
	counts := s.store.Counts()
	engine, restarts, pid := s.engine.stats()
	fetched := s.fallback.stats()
	p := &stage.Progress{
		Pieces:      s.image.Pieces.Count(),
		Have:        counts.Have,
		TouchedHave: counts.Touched,
		Peers:       engine.Peers,
		FromPeers:   engine.FromPeers,
		FromFar:     engine.FromFar,
		FromServer:  engine.FromServer + fetched.bytes,
		Uploaded:    engine.Uploaded,
		Waiting:     counts.Waiting,
		Duplicates:  engine.Duplicates + counts.Duplicates,
		Rejected:    engine.Rejected + fetched.rejected,
		Restarts:    restarts,
		EngineRSS:   resident(pid),
		ServerRSS:   resident(selfPID),
	}
	if b := s.bootFiles.Load(); b != nil {
		p.Serving = &stage.BootServing{Sent: b.sent.Load()}
		for _, f := range s.cfg.Description.Serve {
			p.Serving.Files = append(p.Serving.Files, f.SHA256)
		}
	}
	for _, piece := range s.engine.hello.Profile {
		p.Hot++
		if s.store.Has(piece) {
			p.HotHave++
		}
	}
	return p
}

// attachment is the root as the kernel has it before the hand-over.
type attachment struct {
	mount *rootfs.Mount
	loop  *rootfs.Loop
}

// attach mounts the FUSE file system and puts the loop device on its file.
func (s *rootServer) attach(ctx context.Context) (*attachment, error) {
	if err := rootfs.SwitchOffTimeouts(); err != nil {
		s.log.Warn("a FUSE request may time out", "err", err)
	}
	img := rootfs.NewImage(ctx, s.store, s.log)
	mount, err := rootfs.MountAt(filepath.Join(s.cfg.Dir, "fuse"), img)
	if err != nil {
		return nil, err
	}
	loop, err := rootfs.Attach(s.cfg.LoopDevice, mount.Path())
	if err != nil {
		return nil, errors.Join(err, s.unmount(mount))
	}
	if !loop.Direct() {
		s.log.Warn("the loop device does without direct I/O", "device", s.cfg.LoopDevice)
	}
	return &attachment{mount, loop}, nil
}
