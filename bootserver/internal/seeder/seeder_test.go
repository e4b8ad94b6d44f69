package seeder

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/envelope"
	"swarmboot/peerd/swarm"
	"swarmboot/peerd/swarm/swarmtest"
)

func TestStore(t *testing.T) {
	swarmtest.Run(t, func(t *testing.T, data []byte, pieces images.Pieces) swarm.Store {
		path := filepath.Join(t.TempDir(), "root")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return store{f, pieces}
	})
}

// publish adds an image with a root of size bytes to a catalogue.
func publish(t *testing.T, c *catalogue.Catalogue, key envelope.PrivateKey, name string, size int64) (*catalogue.Image, []byte) {
	t.Helper()
	data, _ := swarmtest.Image(size, images.MinPieceLength)
	pieces, torrent, err := metainfo.Hash(bytes.NewReader(data), name, size, images.MinPieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[catalogue.Part]string)
	for part, content := range map[catalogue.Part][]byte{
		catalogue.Kernel: []byte("kernel"), catalogue.Modules: []byte("modules"),
		catalogue.Root: data, catalogue.Torrent: torrent,
	} {
		files[part] = filepath.Join(t.TempDir(), string(part))
		if err := os.WriteFile(files[part], content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image, err := c.Add(t.Context(), key, images.Manifest{
		Format: images.Format, Name: name, Version: "1", Arch: "amd64", KernelRelease: "6.12", Filesystem: "squashfs", Pieces: pieces,
	}, files)
	if err != nil {
		t.Fatal(err)
	}
	return image, data
}

// arrival is an empty Store that tells when it is full.
type arrival struct {
	images.Pieces
	arrived chan int
}

func (arrival) Has(int) bool                      { return false }
func (arrival) ReadAt([]byte, int64) (int, error) { return 0, os.ErrNotExist }
func (a arrival) Put(piece int, data []byte) error {
	if err := a.Verify(piece, data); err != nil {
		return err
	}
	a.arrived <- piece
	return nil
}

// fetch starts a machine on an address and waits for all pieces of an image.
func fetch(t *testing.T, image *catalogue.Image, listen, seeder netip.AddrPort) {
	t.Helper()
	torrent, err := os.ReadFile(image.Path(catalogue.Torrent))
	if err != nil {
		t.Fatal(err)
	}
	store := arrival{image.Manifest.Pieces, make(chan int, 1000)}
	s, err := swarm.New(swarm.Config{
		Pieces: store.Pieces, Torrent: torrent, Store: store, Listen: listen, Seeder: seeder,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.SetPace(swarm.Full)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	for n := range store.Count() {
		select {
		case <-store.arrived:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d pieces of %s came", n, store.Count(), image.Manifest.Ref())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTwoImagesOnOnePort(t *testing.T) {
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalogue.Open(t.TempDir(), []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	lab, _ := publish(t, c, key, "lab", 20*images.MinPieceLength)
	other, _ := publish(t, c, key, "other", 3*images.MinPieceLength+1)

	s, err := New(netip.MustParseAddrPort("127.200.0.1:0"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Add(lab); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	fetch(t, lab, netip.MustParseAddrPort("127.200.0.2:0"), s.Addr())
	for range 2 { // while it runs, and twice
		if err := s.Add(other); err != nil {
			t.Fatal(err)
		}
	}
	s.Suspect([]netip.Addr{netip.MustParseAddr("127.200.0.3")}) // it comes last, but there is no other
	fetch(t, other, netip.MustParseAddrPort("127.200.0.3:0"), s.Addr())
	for _, image := range []*catalogue.Image{lab, other} {
		uploaded := func() int64 { return s.Stats()[image.Digest].Uploaded }
		for begun := time.Now(); uploaded() < image.Manifest.Root.Size && time.Since(begun) < 10*time.Second; {
			time.Sleep(time.Millisecond) // the peer may have the last block before it is counted
		}
		if got := uploaded(); got != image.Manifest.Root.Size {
			t.Errorf("Uploaded of %s = %d; want %d", image.Manifest.Ref(), got, image.Manifest.Root.Size)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	again, err := New(s.Addr(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("the port is still taken after Run: %v", err)
	}
	again.Run(ctx)
}
