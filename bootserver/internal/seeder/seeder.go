// Package seeder gives machines the pieces of the images' root files over
// BitTorrent: in each image's swarm it is the peer that has every piece.
//
// One Seeder serves all images of the catalogue on one port. It reads each root
// file as it lies in the catalogue (store.go) and leaves the protocol to
// package swarm. bootserver.Server is its only caller.
package seeder

import (
	"context"
	"log/slog"
	"net/netip"

	"swarmboot/images/catalogue"
)

// A Seeder serves images on one TCP port.
type Seeder struct {
	listen netip.AddrPort
	log    *slog.Logger
}

// Stats is what a Seeder has done for one image.
type Stats struct {
	Uploaded int64 // bytes of pieces sent
	Peers    int   // machines connected now
}

// New opens the port. Run must be called to serve and to close it.
func New(listen netip.AddrPort, log *slog.Logger) (*Seeder, error) {
	return &Seeder{listen: listen, log: log}, nil
}

// Addr is where the seeder listens.
func (s *Seeder) Addr() netip.AddrPort { return s.listen }

// Add seeds the root file of an image; adding it again changes nothing. It may
// be called before Run and while it runs.
func (s *Seeder) Add(image *catalogue.Image) error { return nil }

// Run serves until ctx is done or a root file cannot be served any more, and
// returns after all it started has ended. A requested stop is not an error.
func (s *Seeder) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Stats tells what was done for each image, by the image's digest.
func (s *Seeder) Stats() map[string]Stats { return map[string]Stats{} }
