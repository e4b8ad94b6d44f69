// Package seeder gives machines the pieces of the images' root files over
// BitTorrent: in each image's swarm it is the peer that has every piece.
//
// One Seeder serves all images of the catalogue on one port. It reads each root
// file as it lies in the catalogue (store.go) and leaves the protocol to
// package swarm. It announces itself to no tracker: machines get its address
// with their boot description, and the tracker names it to those that shall ask
// it first. bootserver.Server is its caller, and the benchmark of a storm.
package seeder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"

	"swarmboot/images/catalogue"
	"swarmboot/peerd/swarm"
)

// A Seeder serves images on one TCP port.
type Seeder struct {
	log  *slog.Logger
	port *swarm.Port
	wake chan struct{} // holds a token when an image was added

	mu     sync.Mutex
	seeds  map[string]*seed // by the torrent's SHA-256; guarded by mu
	images map[string]*seed // by the image's digest; guarded by mu
}

// A seed is one swarm. Images that differ in kernel or modules only may share
// it.
type seed struct {
	session *swarm.Session
	root    io.Closer
	started bool
}

// Stats is what a Seeder has done for one image since it began.
type Stats struct {
	Uploaded int64 // bytes of pieces sent
	Peers    int   // machines connected now
}

// New opens the port. Run must be called to serve and to close it.
func New(listen netip.AddrPort, log *slog.Logger) (*Seeder, error) {
	port, err := swarm.OpenPort(listen, log)
	if err != nil {
		return nil, fmt.Errorf("seeder: %w", err)
	}
	return &Seeder{
		log:    log,
		port:   port,
		wake:   make(chan struct{}, 1),
		seeds:  make(map[string]*seed),
		images: make(map[string]*seed),
	}, nil
}

// Addr is where the seeder listens.
func (s *Seeder) Addr() netip.AddrPort { return s.port.Addr() }

// Add seeds the root file of an image; adding it again changes nothing. It may
// be called before Run and while it runs. The caller has verified the file.
func (s *Seeder) Add(image *catalogue.Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images[image.Digest] != nil {
		return nil
	}
	torrent := image.Manifest.Torrent.SHA256
	if s.seeds[torrent] == nil {
		seed, err := s.open(image)
		if err != nil {
			return fmt.Errorf("seed image %s: %w", image.Manifest.Ref(), err)
		}
		s.seeds[torrent] = seed
	}
	s.images[image.Digest] = s.seeds[torrent]
	s.log.Info("image seeded", "image", image.Manifest.Ref())
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// open joins the swarm of an image.
func (s *Seeder) open(image *catalogue.Image) (*seed, error) {
	torrent, err := image.Open(catalogue.Torrent)
	if err != nil {
		return nil, err
	}
	defer torrent.Close()
	metainfo, err := io.ReadAll(io.LimitReader(torrent, image.Manifest.Torrent.Size))
	if err != nil {
		return nil, err
	}
	root, err := image.Open(catalogue.Root)
	if err != nil {
		return nil, err
	}
	session, err := s.port.Join(swarm.Config{
		Pieces:  image.Manifest.Pieces,
		Torrent: metainfo,
		Store:   store{root, image.Manifest.Pieces},
		Log:     s.log.With("image", image.Manifest.Ref().String()),
	})
	if err != nil {
		root.Close()
		return nil, err
	}
	return &seed{session: session, root: root}, nil
}

// Suspect replaces the machines that send wrong bytes: they are served last.
func (s *Seeder) Suspect(machines []netip.Addr) { s.port.Suspect(machines) }

// Run serves until ctx is done or an image cannot be served, and returns after
// all it started has ended. A requested stop is not an error.
func (s *Seeder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for ctx.Err() == nil {
		s.mu.Lock()
		for _, seed := range s.seeds {
			if !seed.started {
				seed.started = true
				wg.Go(func() {
					if err := seed.session.Run(ctx); err != nil {
						cancel(fmt.Errorf("seeder: %w", err))
					}
				})
			}
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	wg.Wait()
	s.close()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// close ends the port and closes the root files.
func (s *Seeder) close() {
	s.port.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seed := range s.seeds {
		seed.root.Close()
	}
}

// Stats tells what was done for each image, by the image's digest.
func (s *Seeder) Stats() map[string]Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]Stats, len(s.images))
	for digest, seed := range s.images {
		stats := seed.session.Stats()
		all[digest] = Stats{Uploaded: stats.Uploaded, Peers: stats.Peers}
	}
	return all
}
