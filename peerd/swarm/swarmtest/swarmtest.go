// Package swarmtest is the suite that every swarm.Store passes: a machine's, the
// seeder's and those of tests.
package swarmtest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"swarmboot/images"
	"swarmboot/peerd/swarm"
)

// Image makes size pseudo-random bytes, always the same, and their pieces.
func Image(size, pieceLength int64) ([]byte, images.Pieces) {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	pieces := images.Pieces{Size: size, Length: pieceLength}
	for i := range pieces.Count() {
		sum := sha256.Sum256(Piece(data, pieces, i))
		pieces.SHA256 = append(pieces.SHA256, sum[:]...)
	}
	return data, pieces
}

// Piece is the bytes of one piece.
func Piece(data []byte, pieces images.Pieces, piece int) []byte {
	return data[pieces.Offset(piece):][:pieces.Len(piece)]
}

// Run tests a kind of store. open makes one for an image; it is complete from
// the start if the kind always is.
func Run(t *testing.T, open func(t *testing.T, data []byte, pieces images.Pieces) swarm.Store) {
	data, pieces := Image(5*images.MinPieceLength+1000, images.MinPieceLength)
	last := pieces.Count() - 1

	t.Run("complete", func(t *testing.T) {
		store := open(t, data, pieces)
		var wg sync.WaitGroup
		for i := range pieces.Count() * 3 { // each piece three times, at once
			wg.Go(func() {
				if err := store.Put(i%pieces.Count(), bytes.Clone(Piece(data, pieces, i%pieces.Count()))); err != nil {
					t.Errorf("Put(%d) = %v", i%pieces.Count(), err)
				}
			})
		}
		wg.Wait()
		for i := range pieces.Count() {
			if !store.Has(i) {
				t.Errorf("Has(%d) = false after Put", i)
			}
		}
		got := make([]byte, len(data))
		if n, err := store.ReadAt(got, 0); n != len(data) || !bytes.Equal(got, data) {
			t.Errorf("ReadAt of the whole image = %d, %v; want its %d bytes", n, err, len(data))
		}
		tail := make([]byte, 500)
		if n, err := store.ReadAt(tail, pieces.Size-500); n != 500 || !bytes.Equal(tail, data[len(data)-500:]) {
			t.Errorf("ReadAt of the last bytes = %d, %v", n, err)
		}
		if n, err := store.ReadAt(tail, pieces.Size); n != 0 || err == nil {
			t.Errorf("ReadAt behind the end = %d, %v; want an error", n, err)
		}
	})

	t.Run("damaged", func(t *testing.T) {
		store := open(t, data, pieces)
		for name, c := range map[string]struct {
			piece int
			data  []byte
		}{
			"another piece":     {0, Piece(data, pieces, 1)},
			"short":             {0, Piece(data, pieces, 0)[1:]},
			"last, too long":    {last, Piece(data, pieces, 0)},
			"behind the end":    {last + 1, Piece(data, pieces, last)},
			"before the begin":  {-1, Piece(data, pieces, 0)},
			"nothing":           {0, nil},
			"one bit different": {2, append([]byte{data[pieces.Offset(2)] ^ 1}, Piece(data, pieces, 2)[1:]...)},
		} {
			had := store.Has(c.piece)
			if err := store.Put(c.piece, c.data); !errors.Is(err, images.ErrBadPiece) {
				t.Errorf("%s: Put = %v; want ErrBadPiece", name, err)
			}
			if store.Has(c.piece) != had {
				t.Errorf("%s: the refused Put changed Has", name)
			}
		}
	})

	t.Run("incomplete", func(t *testing.T) {
		store := open(t, data, pieces)
		if store.Has(0) {
			t.Skip("a store of this kind is always complete")
		}
		if err := store.Put(1, Piece(data, pieces, 1)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, pieces.Length)
		if n, err := store.ReadAt(buf, pieces.Offset(1)); n != len(buf) || !bytes.Equal(buf, Piece(data, pieces, 1)) {
			t.Errorf("ReadAt of piece 1 = %d, %v", n, err)
		}
		for _, off := range []int64{0, pieces.Offset(1) + 1, pieces.Offset(2)} {
			if n, err := store.ReadAt(buf, off); err == nil {
				t.Errorf("ReadAt at %d = %d bytes; want an error, as a piece is missing", off, n)
			}
		}
	})
}
