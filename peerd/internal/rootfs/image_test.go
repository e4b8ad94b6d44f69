package rootfs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"swarmboot/images"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm/swarmtest"
)

func newTestImage(t *testing.T, ctx context.Context) (*Image, *piecestore.Store, []byte) {
	data, pieces := swarmtest.Image(20*images.MinPieceLength+321, images.MinPieceLength)
	store, err := piecestore.Create(filepath.Join(t.TempDir(), "root"), pieces)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return NewImage(ctx, store, slog.New(slog.DiscardHandler)), store, data
}

// TestReadersGetTheImageOnly: many reads of random places run while the pieces
// arrive in random order; each gets exactly the image's bytes.
func TestReadersGetTheImageOnly(t *testing.T) {
	img, store, data := newTestImage(t, t.Context())
	var wg sync.WaitGroup
	for range 100 {
		off, n := rand.Int64N(int64(len(data))+10), rand.IntN(4*images.MinPieceLength)
		wg.Go(func() {
			n, err := img.await(off, n)
			if err != nil {
				t.Errorf("await: %v", err)
			}
			got := make([]byte, n)
			if n > 0 {
				store.File().ReadAt(got, off)
			}
			if want := data[min(off, int64(len(data))):][:n]; !bytes.Equal(got, want) {
				t.Errorf("%d bytes at %d are not those of the image", n, off)
			}
		})
	}
	for _, piece := range rand.Perm(store.Pieces().Count()) {
		if err := store.Put(piece, swarmtest.Piece(data, store.Pieces(), piece)); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func TestReadsAtTheEnd(t *testing.T) {
	img, store, data := newTestImage(t, t.Context())
	last := store.Pieces().Count() - 1
	if err := store.Put(last, swarmtest.Piece(data, store.Pieces(), last)); err != nil {
		t.Fatal(err)
	}
	size := int64(len(data))
	for _, c := range []struct {
		off     int64
		n, want int
	}{{size - 10, 4096, 10}, {size, 4096, 0}, {size + 5, 1, 0}, {size - 1, 1, 1}, {0, 0, 0}, {-1, 5, 0}} {
		if got, err := img.await(c.off, c.n); got != c.want || err != nil {
			t.Errorf("await(%d, %d) = %d, %v; want %d", c.off, c.n, got, err, c.want)
		}
	}
}

// TestOnlyTheEndOfPeerdEndsARead: bad pieces do not.
func TestOnlyTheEndOfPeerdEndsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		img, store, data := newTestImage(t, ctx)
		var err error
		ended := false
		go func() {
			_, err = img.await(0, images.MinPieceLength+1)
			ended = true
		}()
		synctest.Wait()
		store.Put(0, swarmtest.Piece(data, store.Pieces(), 1))
		store.Put(1, swarmtest.Piece(data, store.Pieces(), 1))
		synctest.Wait()
		if ended {
			t.Fatalf("the read ended with %v although piece 0 is missing", err)
		}
		cancel()
		synctest.Wait()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("await = %v after peerd's end; want context.Canceled", err)
		}
	})
}
