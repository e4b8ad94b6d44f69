package peerd

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"swarmboot/images"
	"swarmboot/images/delta"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/bootargs"
	"swarmboot/peerd/internal/piececache"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm/swarmtest"
)

// What one boot has fetched, the next has from the cache; what has gone bad
// there, it has not.
func TestCacheOutlivesTheBoot(t *testing.T) {
	const pieceLength = images.DefaultPieceLength
	data, _ := swarmtest.Image(4*pieceLength, pieceLength)
	pieces, _, err := metainfo.Hash(bytes.NewReader(data), "root", int64(len(data)), pieceLength, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	partition := filepath.Join(t.TempDir(), "partition")
	if err := os.WriteFile(partition, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	boot := func(t *testing.T) *rootServer {
		t.Helper()
		store, err := piecestore.Create(filepath.Join(t.TempDir(), "root"), pieces)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		cache, err := piececache.Open(partition, pieces)
		if err != nil {
			t.Fatal(err)
		}
		return &rootServer{
			cfg: RootConfig{Description: bootargs.Description{Profile: []int{2, 0}}}, image: images.Manifest{Pieces: pieces},
			store: store, cache: cache, log: slog.New(slog.DiscardHandler),
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := boot(t)
		if s.recall(t.Context()); s.store.Counts().Have != 0 {
			t.Error("an empty cache has pieces")
		}
		go func() {
			for i := range pieces.Count() {
				if err := s.store.Put(i, data[pieces.Offset(i):][:pieces.Len(i)]); err != nil {
					t.Error(err)
				}
			}
		}()
		s.remember(t.Context()) // until all have arrived
	})

	text, err := os.ReadFile(partition)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Index(text, data[:4096])
	if first < 0 {
		t.Fatal("the first piece is not on the disk")
	}
	text[first] ^= 1
	if err := os.WriteFile(partition, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := boot(t)
	s.recall(t.Context())
	if got := s.store.Have(); got[0] || !got[1] || !got[2] || !got[3] {
		t.Errorf("the next boot has the pieces %v; want all but the first, which has gone bad", got)
	}
	if s.cache.Has(pieces.Sum(0)) {
		t.Error("the bad piece would not be replaced")
	}
}

// A machine that has kept one version makes most of the next one of it: what is
// the same has only moved.
func TestPiecesOfAnotherVersion(t *testing.T) {
	const pieceLength = images.DefaultPieceLength
	old, _ := swarmtest.Image(8*pieceLength, pieceLength)
	next := append(append(bytes.Clone(old[:pieceLength+7]), "a change"...), old[pieceLength+7:]...)
	piecesOf := func(root []byte) images.Pieces {
		pieces, _, err := metainfo.Hash(bytes.NewReader(root), "root", int64(len(root)), pieceLength, nil)
		if err != nil {
			t.Fatal(err)
		}
		return pieces
	}
	before, after := piecesOf(old), piecesOf(next)
	lie := delta.Find(old, before, next)
	lie.Copies = slices.Clone(lie.Copies)
	lie.Copies[len(lie.Copies)-1].From -= 3

	for _, c := range []struct {
		what   string
		answer []byte
		want   int // pieces that are here
		drafts int // and of those that are not, pieces that are here but for a block
	}{
		{"a delta", delta.Find(old, before, next).Marshal(), after.Count() - 1, 1},
		{"a delta that is wrong", lie.Marshal(), 1, 1},
		{"one for another root", delta.Find(old, before, old).Marshal(), 1, 0},
		{"nonsense", []byte("nonsense"), 1, 0}, // the first piece is the same in both
	} {
		partition := filepath.Join(t.TempDir(), "partition")
		if err := os.WriteFile(partition, make([]byte, 16<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		cache, err := piececache.Open(partition, before)
		if err != nil {
			t.Fatal(err)
		}
		for i := range before.Count() {
			if _, err := cache.Put(before.Sum(i), old[before.Offset(i):][:before.Len(i)]); err != nil {
				t.Fatal(err)
			}
		}
		store, err := piecestore.Create(filepath.Join(t.TempDir(), "root"), after)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(c.answer) }))
		s := &rootServer{
			cfg: RootConfig{Description: bootargs.Description{Deltas: []string{server.URL}}}, image: images.Manifest{Pieces: after},
			store: store, cache: cache, engine: &engine{}, log: slog.New(slog.DiscardHandler),
		}
		s.recall(t.Context())
		server.Close()
		if err := cache.Close(); err != nil {
			t.Fatal(err)
		}
		if got := store.Counts().Have; got != c.want {
			t.Errorf("%s: %d of %d pieces are here; want %d", c.what, got, after.Count(), c.want)
		}
		lacking := 0
		for _, d := range s.engine.drafts {
			for i, known := range d.Known {
				at := i * delta.BlockLength
				if !known {
					lacking++
				} else if c.want > 1 && !bytes.Equal(d.Data[at:][:delta.BlockLength], next[after.Offset(d.Piece):][at:][:delta.BlockLength]) {
					t.Errorf("%s: block %d of piece %d is wrong", c.what, i, d.Piece)
				}
			}
		}
		if len(s.engine.drafts) != c.drafts || lacking != c.drafts {
			t.Errorf("%s: the engine is to fetch %d blocks of %d pieces; want one each of %d", c.what, lacking, len(s.engine.drafts), c.drafts)
		}
	}
}
