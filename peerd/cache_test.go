package peerd

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"swarmboot/images"
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
