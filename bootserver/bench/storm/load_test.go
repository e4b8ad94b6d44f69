package storm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"math/rand/v2"
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

// A shape is an image and the boot that reads it, in sizes.
type shape struct {
	size, pieceLength int64
	hot               int    // pieces that a boot reads
	recorded          string // file with a boot that was recorded; empty: one is made up
}

// usual is the image of all runs that name no other. At 25 Mbit/s one of its
// pieces takes as long as one of 256 KiB at 100 Mbit/s. It is small, so that a
// server which sends everybody a copy is done in a minute; what is hot of it
// takes as long as 120 MiB at 300 Mbit/s.
var usual = shape{size: 25 << 20, pieceLength: 64 << 10, hot: 160}

// inPieces is the usual image in pieces of another length.
func inPieces(length int64) shape {
	return shape{size: usual.size, pieceLength: length, hot: int(usual.hotBytes() / length)}
}

func (s shape) hotBytes() int64 { return int64(s.hot) * s.pieceLength }

// payload is what TCP carries of a frame: of 1514 bytes, 1448.
const payload = 1448.0 / 1514

// A load is an image, and the boot that reads it.
type load struct {
	shape
	dir     string
	Pieces  images.Pieces
	Torrent []byte
	Profile []int  // the order in which boots have read the hot pieces
	Trace   []read // what this boot reads
}

// A read is the first one of a piece in a boot.
type read struct {
	Piece int
	Think float64 // before it, as part of all that the boot computes
}

// loads are those that were made so far, each in a folder of its own.
type loads struct {
	dir  string
	made map[shape]*load
}

func (all *loads) load(t testing.TB, s shape) *load {
	t.Helper()
	if all.made[s] == nil {
		dir := filepath.Join(all.dir, fmt.Sprint("load", len(all.made)))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		all.made[s] = newLoad(t, dir, s)
	}
	return all.made[s]
}

// newLoad makes image, torrent and trace in dir, which is memory.
func newLoad(t testing.TB, dir string, s shape) *load {
	t.Helper()
	l := &load{shape: s, dir: dir}
	data, _ := swarmtest.Image(s.size, s.pieceLength)
	var err error
	l.Pieces, l.Torrent, err = metainfo.Hash(bytes.NewReader(data), "image", s.size, s.pieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.recorded == "" {
		l.makeUp()
	} else if err := l.replayed(s.recorded); err != nil {
		t.Fatal(err)
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

// makeUp makes a boot up. It reads files here and there in the image, each from
// its beginning on; no two boots read quite the same: in ours one piece in twenty
// is not of the profile, and neighbours change places.
func (l *load) makeUp() {
	random := rand.New(rand.NewPCG(1, 2))
	run := int(max(1, 5*usual.pieceLength/l.pieceLength)) // pieces of a file
	starts := random.Perm(l.Pieces.Count() / run)
	order := make([]int, 0, l.Pieces.Count())
	for _, start := range starts {
		for i := range run {
			order = append(order, start*run+i)
		}
	}
	l.Profile = order[:l.hot:l.hot]
	think := 1 / float64(l.hot)
	for _, piece := range l.Profile {
		l.Trace = append(l.Trace, read{piece, think})
	}
	for i := range l.Trace {
		if random.IntN(20) == 0 {
			l.Trace[i].Piece = order[l.hot+i]
		}
		if j := i + random.IntN(3); i > 0 && j < len(l.Trace) {
			l.Trace[i], l.Trace[j] = l.Trace[j], l.Trace[i]
		}
	}
}

// A recording is how machines have booted an image: the pieces that they read, in
// order, and when, in milliseconds. testdata/lab.json is the boot server's own
// profile of the lab's image, the mean of four boots in QEMU.
type recording struct {
	Size, PieceLength int64
	Boot              []struct{ Piece, Millis int }
}

// replayed takes the boot from a recording.
func (l *load) replayed(path string) error {
	var r recording
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return err
	}
	if len(r.Boot) != l.hot || r.Size != l.size || r.PieceLength != l.pieceLength {
		return fmt.Errorf("%s has a boot of %d pieces of %d bytes, of an image of %d", path, len(r.Boot), r.PieceLength, r.Size)
	}
	last, all := 0, float64(r.Boot[len(r.Boot)-1].Millis)
	for _, touch := range r.Boot {
		l.Profile = append(l.Profile, touch.Piece)
		l.Trace = append(l.Trace, read{touch.Piece, float64(touch.Millis-last) / all})
		last = touch.Millis
	}
	return nil
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
	torrent := fmt.Sprintf("d8:announce%d:%s%s", len(trackerURL), trackerURL, l.Torrent[1:])
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

// published is the image that publish has put there.
func (l *load) published() (*catalogue.Image, error) {
	c, err := l.catalogue()
	if err != nil {
		return nil, err
	}
	return c.Get(images.Ref{Name: "storm", Version: "1"})
}

// seconds is how long bytes need on a link of rate bits per second.
func seconds(bytes, rate int64) float64 { return float64(bytes) * 8 / (float64(rate) * payload) }

// boundImage is the least time in which the last of n machines can have the
// whole image: each piece must be sent floor(log2 n) times before the last gets
// it, and everything else takes a link's time (discrete, equal links). 0: nobody
// knows what links without a rate could do.
func (l *load) boundImage(n int, rate int64) float64 {
	if rate == unshaped {
		return 0
	}
	return l.delay(n, rate) + seconds(l.size, rate)
}

// boundBoot is the least time in which the last of n machines can have booted, if
// a boot computes for so many seconds: if its pieces came in the order of its
// reads, one behind the other.
func (l *load) boundBoot(n int, rate int64, compute float64) float64 {
	there, now := l.delay(n, rate), 0.0
	for _, r := range l.Trace {
		there += seconds(l.pieceLength, rate)
		now = max(now+r.Think*compute, there)
	}
	return now
}

// delay is how long a piece needs to come to the last of n machines, beyond the
// time of its own on that machine's link.
func (l *load) delay(n int, rate int64) float64 {
	return float64(bits.Len(uint(n))-1) * seconds(l.pieceLength, rate)
}

// replay reads the trace and computes for so long in all.
func (l *load) replay(read func(piece int) error, compute time.Duration) error {
	for _, r := range l.Trace {
		time.Sleep(time.Duration(r.Think * float64(compute)))
		if err := read(r.Piece); err != nil {
			return err
		}
	}
	return nil
}

var discard = slog.New(slog.DiscardHandler)

// TestBound: what a boot waits for at least depends on when it computes.
func TestBound(t *testing.T) {
	l := &load{shape: shape{size: 20 << 20, pieceLength: 1 << 20, hot: 10}}
	for i := range l.hot {
		l.Trace = append(l.Trace, read{i, 0.1})
	}
	bits := float64(8*l.pieceLength) / payload
	rate := int64(bits) // a piece a second
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"the whole image, eight machines", l.boundImage(8, rate), 20 + 3},
		{"a boot that computes nothing", l.boundBoot(1, rate, 0), 10},
		{"one that computes while its pieces come", l.boundBoot(1, rate, 5), 10},
		{"one that computes for longer", l.boundBoot(1, rate, 40), 40},
		{"links without a rate", l.boundImage(8, unshaped), 0},
	} {
		if math.Abs(c.got-c.want) > 0.01 {
			t.Errorf("the bound of %s is %.2f s; want %.2f", c.what, c.got, c.want)
		}
	}
}
