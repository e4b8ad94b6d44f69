package seeder

import (
	"os"

	"swarmboot/images"
)

// A store is a root file of the catalogue as a swarm.Store. It has every piece
// and changes nothing.
type store struct {
	*os.File // ReadAt
	pieces   images.Pieces
}

// Has is true for every piece of the image.
func (s store) Has(piece int) bool { return piece >= 0 && piece < s.pieces.Count() }

// Put has nothing to keep; it only tells whether data is the piece.
func (s store) Put(piece int, data []byte) error { return s.pieces.Verify(piece, data) }
