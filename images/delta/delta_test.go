package delta

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"swarmboot/images"
	"swarmboot/images/metainfo"
)

const pieceLength = images.MinPieceLength

func pieces(t testing.TB, root []byte) images.Pieces {
	t.Helper()
	p, _, err := metainfo.Hash(bytes.NewReader(root), "root", int64(len(root)), pieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{seed})
	rng.Read(data)
	return data
}

// made counts the pieces of b that can be made of a, and fails if one would be
// wrong.
func made(t *testing.T, a, b []byte) (count int) {
	t.Helper()
	p := pieces(t, b)
	d := Find(a, pieces(t, a), b)
	again, err := Parse(d.Marshal())
	if err != nil || !reflect.DeepEqual(again, d) {
		t.Fatalf("Parse(Marshal()) = %+v, %v; want %+v", again, err, d)
	}
	for i := range p.Count() {
		var piece []byte
		for _, c := range d.Cover(p.Offset(i), int64(p.Len(i))) {
			piece = append(piece, a[c.From:][:c.Length]...)
		}
		if len(piece) == 0 {
			continue
		}
		if err := p.Verify(i, piece); err != nil {
			t.Error(err)
		}
		count++
	}
	return count
}

func TestFind(t *testing.T) {
	root := noise(1, 64*pieceLength+100)
	all := pieces(t, root).Count()
	insert := func(at int, data []byte) []byte { return append(append(bytes.Clone(root[:at]), data...), root[at:]...) }
	changed := bytes.Clone(root)
	changed[10*pieceLength+5] ^= 1
	for _, c := range []struct {
		what string
		b    []byte
		lack int // pieces that cannot be made
	}{
		{"the same", root, 0},
		{"another byte", changed, 1},
		{"100 bytes more in the middle", insert(20*pieceLength+7, noise(2, 100)), 1},
		{"a piece more in the middle", insert(20*pieceLength+7, noise(2, pieceLength)), 2},
		{"less at the begin", root[3*pieceLength+9:], 0},
		{"halves in the other order", append(bytes.Clone(root[30*pieceLength+3:]), root[:30*pieceLength+3]...), 0},
		{"something else", noise(3, len(root)), all},
		{"nothing but zeros", make([]byte, len(root)), all},
	} {
		if got, want := made(t, root, c.b), pieces(t, c.b).Count()-c.lack; got != want {
			t.Errorf("%s: %d pieces are made of old ones; want %d", c.what, got, want)
		}
	}
	if got := made(t, root[:100], root); got != 0 {
		t.Errorf("%d pieces are made of 100 bytes", got)
	}
}

func BenchmarkFind(b *testing.B) {
	root := noise(1, 64<<20)
	p := pieces(b, root)
	other := noise(2, 64<<20)
	b.SetBytes(int64(len(other)))
	for b.Loop() {
		Find(root, p, other)
	}
}

func FuzzParse(f *testing.F) {
	a := noise(1, 3*pieceLength)
	b := append(noise(2, 50), a...)
	f.Add(Find(a, pieces(f, a), b).Marshal())
	f.Add([]byte(magic))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			return
		}
		for at := int64(0); at < d.Size && at < 8*pieceLength; at += pieceLength {
			n := int64(0)
			for _, c := range d.Cover(at, min(pieceLength, d.Size-at)) {
				if c.From < 0 || c.From+c.Length > d.Old.Size || c.Length <= 0 {
					t.Fatalf("copy %+v of an old root of %d bytes", c, d.Old.Size)
				}
				n += c.Length
			}
			if n != 0 && n != min(pieceLength, d.Size-at) {
				t.Fatalf("%d bytes at %d", n, at)
			}
		}
	})
}
