package storm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/envelope"
	"swarmboot/peerd/swarm/swarmtest"
)

// The image of all runs. At 25 Mbit/s one of its pieces takes as long as one of
// 256 KiB at 100 Mbit/s. It is small, so that a server which sends everybody a
// copy is done in a minute; what is hot of it takes as long as 120 MiB at
// 300 Mbit/s.
const (
	imageSize   = 25 << 20
	pieceLength = 64 << 10
	hotPieces   = 160 // 10 MiB
)

// payload is what TCP carries of a frame: of 1514 bytes, 1448.
const payload = 1448.0 / 1514

// A load is an image, and the boot that reads it.
type load struct {
	dir     string
	Pieces  images.Pieces
	Torrent []byte
	Profile []int // the order in which a recorded boot read the hot pieces
	Trace   []int // the order in which this boot reads them
}

// newLoad makes image, torrent and trace in dir, which is memory. A boot reads
// files here and there in the image, each from its beginning on; no two boots
// read quite the same: in ours one piece in twenty is not of the profile, and
// neighbours change places.
func newLoad(t testing.TB, dir string) *load {
	t.Helper()
	l := &load{dir: dir}
	data, _ := swarmtest.Image(imageSize, pieceLength)
	var err error
	l.Pieces, l.Torrent, err = metainfo.Hash(bytes.NewReader(data), "image", imageSize, pieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	const run = 5 // pieces of a file
	starts := random.Perm(l.Pieces.Count() / run)
	order := make([]int, 0, l.Pieces.Count())
	for _, start := range starts {
		for i := range run {
			order = append(order, start*run+i)
		}
	}
	l.Profile = order[:hotPieces:hotPieces]
	l.Trace = append(l.Trace, l.Profile...)
	for i := range l.Trace {
		if random.IntN(20) == 0 {
			l.Trace[i] = order[hotPieces+i]
		}
		if j := i + random.IntN(3); i > 0 && j < len(l.Trace) {
			l.Trace[i], l.Trace[j] = l.Trace[j], l.Trace[i]
		}
	}
	if err := os.WriteFile(l.path("image"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.path("image.torrent"), l.Torrent, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.announce(); err != nil {
		t.Fatal(err)
	}
	if err := l.publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.path("load.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

// readLoad reads what newLoad has written.
func readLoad(dir string) (*load, error) {
	text, err := os.ReadFile(filepath.Join(dir, "load.json"))
	if err != nil {
		return nil, err
	}
	l := &load{dir: dir}
	return l, json.Unmarshal(text, l)
}

func (l *load) path(name string) string { return filepath.Join(l.dir, name) }

// announce writes the torrent with our tracker in it, which its file lacks, and
// the word that clients say by a program of ours.
func (l *load) announce() error {
	url := fmt.Sprintf("http://10.99.0.1:%d/announce", trackerPort)
	torrent := fmt.Sprintf("d8:announce%d:%s%s", len(url), url, l.Torrent[1:])
	if err := os.WriteFile(l.path("announced.torrent"), []byte(torrent), 0o644); err != nil {
		return err
	}
	return os.WriteFile(l.path("complete"), []byte("#!/bin/sh\necho complete\n"), 0o755)
}

// publish puts the image into a catalogue, from which our server seeds it.
func (l *load) publish(ctx context.Context) error {
	key, err := envelope.NewKey()
	if err != nil {
		return err
	}
	if err := os.Mkdir(l.path("keys"), 0o755); err != nil {
		return err
	}
	public, err := key.Public().MarshalPEM()
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.path("keys/storm.pem"), public, 0o644); err != nil {
		return err
	}
	c, err := l.catalogue()
	if err != nil {
		return err
	}
	files := map[catalogue.Part]string{catalogue.Root: l.path("image"), catalogue.Torrent: l.path("image.torrent")}
	for _, part := range []catalogue.Part{catalogue.Kernel, catalogue.Modules} {
		files[part] = l.path(string(part))
		if err := os.WriteFile(files[part], []byte(part), 0o644); err != nil {
			return err
		}
	}
	_, err = c.Add(ctx, key, images.Manifest{
		Format: images.Format, Name: "storm", Version: "1", Arch: "amd64", KernelRelease: "6.12", Filesystem: "squashfs", Pieces: l.Pieces,
	}, files)
	return err
}

func (l *load) catalogue() (*catalogue.Catalogue, error) {
	trusted, err := envelope.ReadTrusted(l.path("keys"))
	if err != nil {
		return nil, err
	}
	return catalogue.Open(l.path("catalogue"), trusted)
}

// announced is what our tracker knows: its seeder, and the swarm.
func (l *load) announced() (seeder netip.AddrPort, infohash [20]byte, err error) {
	infohash, err = metainfo.Parse(l.Torrent, l.Pieces)
	return netip.AddrPortFrom(netip.MustParseAddr("10.99.0.1"), swarmPort), infohash, err
}

// seconds is how long bytes need on a link of rate bits per second.
func seconds(bytes, rate int64) float64 { return float64(bytes) * 8 / (float64(rate) * payload) }

// boundImage is the least time in which the last of n machines can have the
// whole image: each piece must be sent floor(log2 n) times before the last gets
// it, and everything else takes a link's time (discrete, equal links).
func boundImage(n int, rate int64) float64 { return bound(imageSize, n, rate) }

// boundBoot is the least time in which the last of n machines can have booted,
// if a boot computes for so many seconds.
func boundBoot(n int, rate int64, compute float64) float64 {
	return max(compute, bound(hotPieces*pieceLength, n, rate))
}

func bound(size int64, n int, rate int64) float64 {
	pieces := float64(size) / pieceLength
	return seconds(size, rate) * (1 + float64(bits.Len(uint(n))-1)/pieces)
}

// replay reads the trace and computes for so long in all.
func (l *load) replay(read func(piece int) error, compute time.Duration) error {
	think := compute / time.Duration(len(l.Trace))
	for _, piece := range l.Trace {
		time.Sleep(think)
		if err := read(piece); err != nil {
			return err
		}
	}
	return nil
}

var discard = slog.New(slog.DiscardHandler)
