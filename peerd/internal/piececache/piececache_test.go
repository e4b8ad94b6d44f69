package piececache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"swarmboot/images"
	"swarmboot/initramfs/partition"
)

// image makes n pieces, each of its own bytes.
func image(first, n int) (images.Pieces, [][]byte) {
	p := images.Pieces{Size: int64(n) * slotSize, Length: slotSize}
	var data [][]byte
	for i := range n {
		piece := bytes.Repeat([]byte{byte(first + i), byte(i >> 8), 1}, slotSize)[:slotSize]
		sum := sha256.Sum256(piece)
		p.SHA256 = append(p.SHA256, sum[:]...)
		data = append(data, piece)
	}
	return p, data
}

// emptyPartition makes an empty file with room for n slots.
func emptyPartition(t *testing.T, n int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "partition")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, headerSize+align+int64(n)*(slotSize+entrySize)); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, name string, pieces images.Pieces) *Cache {
	t.Helper()
	c, err := Open(name, pieces)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.f.Close() })
	return c
}

func put(t *testing.T, c *Cache, pieces images.Pieces, data [][]byte) (kept int) {
	t.Helper()
	for i, piece := range data {
		ok, err := c.Put(pieces.Sum(i), piece)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			kept++
		}
	}
	return kept
}

func TestPiecesSurvive(t *testing.T) {
	name := emptyPartition(t, 6)
	pieces, data := image(0, 5)
	c := open(t, name, pieces)
	if kept := put(t, c, pieces, data); kept != 5 {
		t.Errorf("%d pieces were kept; want 5", kept)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, name, pieces)
	for i, want := range data {
		if got, err := c.Get(pieces.Sum(i)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("piece %d after a restart: %d bytes, %v", i, len(got), err)
		}
	}

	// Another version has some of the pieces; the others make room.
	next, nextData := image(3, 5)
	c = open(t, name, next)
	if !c.Has(pieces.Sum(3)) || c.Has(next.Sum(4)) {
		t.Error("of the next version it should have what the first had, and no more")
	}
	if kept := put(t, c, next, nextData); kept != 5 {
		t.Errorf("%d pieces of the next version were kept; want 5", kept)
	}
	for i, want := range nextData {
		if got, err := c.Get(next.Sum(i)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("piece %d of the next version: %d bytes, %v", i, len(got), err)
		}
	}
}

func TestImageLargerThanTheCache(t *testing.T) {
	pieces, data := image(0, 5)
	c := open(t, emptyPartition(t, 3), pieces)
	if kept := put(t, c, pieces, data); kept != 3 {
		t.Errorf("%d pieces were kept; want the 3 that there is room for", kept)
	}
	if got, err := c.Get(pieces.Sum(0)); err != nil || !bytes.Equal(got, data[0]) {
		t.Errorf("the first one was thrown out for the last: %v", err)
	}
}

func TestForgottenPieceIsFetchedAgain(t *testing.T) {
	pieces, data := image(0, 2)
	c := open(t, emptyPartition(t, 2), pieces)
	put(t, c, pieces, data)
	c.Forget(pieces.Sum(0))
	if got, err := c.Get(pieces.Sum(0)); got != nil || err != nil {
		t.Errorf("Get of a forgotten piece = %d bytes, %v", len(got), err)
	}
	if ok, err := c.Put(pieces.Sum(0), data[0]); !ok || err != nil {
		t.Errorf("Put of a forgotten piece = %v, %v", ok, err)
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	pieces, _ := image(0, 1)
	name := emptyPartition(t, 8)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0x53, 0xef}, 1024+56); err != nil { // ext4
		t.Fatal(err)
	}
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, pieces); !errors.Is(err, partition.ErrTaken) {
		t.Errorf("Open of a file system = %v; want ErrTaken", err)
	}
	if after, _ := os.ReadFile(name); !bytes.Equal(before, after) {
		t.Error("it was written to")
	}
}

func TestResizedPartitionBeginsAnew(t *testing.T) {
	name := emptyPartition(t, 4)
	pieces, data := image(0, 3)
	c := open(t, name, pieces)
	put(t, c, pieces, data)
	if err := os.Truncate(name, headerSize+align+9*(slotSize+entrySize)); err != nil {
		t.Fatal(err)
	}
	c = open(t, name, pieces)
	if c.Has(pieces.Sum(0)) {
		t.Error("pieces of the smaller partition are found at other places")
	}
	if kept := put(t, c, pieces, data); kept != 3 {
		t.Errorf("%d pieces were kept; want 3", kept)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(magic), []byte{})
	f.Add(header(4), entry(Sum{1}, 5))
	f.Add(header(4), entry(Sum{1}, -1))
	f.Add(header(1<<40), []byte{1})
	f.Fuzz(func(t *testing.T, head, index []byte) {
		name := emptyPartition(t, 4)
		p, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.WriteAt(head, 0)
		p.WriteAt(index, headerSize)
		pieces, data := image(0, 2)
		c, err := Open(name, pieces)
		if err != nil {
			return
		}
		defer c.f.Close()
		for sum := range c.at {
			if _, err := c.Get(sum); err != nil {
				t.Errorf("Get: %v", err)
			}
		}
		if kept := put(t, c, pieces, data); kept != 2 && len(c.slots) == 4 {
			t.Errorf("%d pieces were kept; want 2", kept)
		}
	})
}
