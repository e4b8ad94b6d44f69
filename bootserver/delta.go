package bootserver

import (
	"fmt"
	"net"
	"sync"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/delta"
)

const (
	maxBases  = 2  // earlier images of a machine's that its cache may still have pieces of
	maxDeltas = 32 // are remembered
)

// deltas makes the deltas that machines with a cache ask for, each once.
type deltas struct {
	making sync.Mutex // held while one is made: each takes a core, and both roots in memory
	mu     sync.Mutex
	made   map[[2]string]func() ([]byte, error) // guarded by mu; by the digests of the old image and the new
}

// get returns the delta from one image to another, encoded.
func (d *deltas) get(from, to *catalogue.Image) ([]byte, error) {
	key := [2]string{from.Digest, to.Digest}
	d.mu.Lock()
	get := d.made[key]
	if get == nil {
		if d.made == nil || len(d.made) >= maxDeltas {
			d.made = map[[2]string]func() ([]byte, error){}
		}
		get = sync.OnceValues(func() ([]byte, error) {
			d.making.Lock()
			defer d.making.Unlock()
			return makeDelta(from, to)
		})
		d.made[key] = get
	}
	d.mu.Unlock()
	return get()
}

func makeDelta(from, to *catalogue.Image) ([]byte, error) {
	a, err := from.Open(catalogue.Root)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	b, err := to.Open(catalogue.Root)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	d, err := delta.Files(a, from.Manifest.Pieces, b, to.Manifest.Root.Size)
	if err != nil {
		return nil, fmt.Errorf("delta from %s to %s: %w", from.Manifest.Ref(), to.Manifest.Ref(), err)
	}
	return d.Marshal(), nil
}

// deltaPaths are where a machine that keeps pieces finds what to's have in common
// with those of the images that it has booted before.
func (s *Server) deltaPaths(mac net.HardwareAddr, to *catalogue.Image) (paths []string) {
	for _, name := range s.fleet.Earlier(mac.String(), to.Manifest.Ref().String()) {
		ref, err := images.ParseRef(name)
		if err != nil || len(paths) == maxBases {
			continue
		}
		if _, err := s.catalogue.Get(ref); err != nil {
			continue // it is gone
		}
		paths = append(paths, bootweb.DeltaPath(to, ref))
	}
	return paths
}

// delta is what the image with that digest has in common with another.
func (s *Server) delta(digest string, from images.Ref) ([]byte, error) {
	to, ok := webSide{s}.Image(digest)
	if !ok {
		return nil, bootweb.ErrUnknown
	}
	old, err := s.catalogue.Get(from)
	if err != nil {
		return nil, err
	}
	return s.deltas.get(old, to)
}
