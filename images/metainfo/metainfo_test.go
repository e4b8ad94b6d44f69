package metainfo

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"swarmboot/images"
)

// twoAndAHalf is a file of three pieces, the last one short.
var twoAndAHalf = bytes.Repeat([]byte("0123456789abcdef"), images.MinPieceLength*5/2/16)

func hash(t testing.TB, file []byte) (images.Pieces, []byte) {
	t.Helper()
	pieces, torrent, err := Hash(bytes.NewReader(file), "lab.squashfs", int64(len(file)), images.MinPieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pieces, torrent
}

func TestHash(t *testing.T) {
	var seen []int64
	size := int64(len(twoAndAHalf))
	pieces, torrent, err := Hash(bytes.NewReader(twoAndAHalf), "lab.squashfs", size, images.MinPieceLength, func(n int64) { seen = append(seen, n) })
	if err != nil {
		t.Fatal(err)
	}
	if pieces.Count() != 3 {
		t.Fatalf("Count() = %d; want 3", pieces.Count())
	}
	for i := range pieces.Count() {
		if err := pieces.Verify(i, twoAndAHalf[pieces.Offset(i):][:pieces.Len(i)]); err != nil {
			t.Error(err)
		}
	}
	if want := []int64{images.MinPieceLength, 2 * images.MinPieceLength, size}; !slices.Equal(seen, want) {
		t.Errorf("progress = %v; want %v", seen, want)
	}
	if _, again := hash(t, twoAndAHalf); !bytes.Equal(torrent, again) {
		t.Error("the same file gave two torrents")
	}
	// The whole torrent, as BEP 3 writes it: nothing about us, no tracker, no date.
	var wire strings.Builder
	for _, n := range []int{0, 1, 2} {
		sum := sha1.Sum(twoAndAHalf[pieces.Offset(n):][:pieces.Len(n)])
		wire.Write(sum[:])
	}
	info := "d6:lengthi40960e4:name12:lab.squashfs12:piece lengthi16384e6:pieces60:" + wire.String() + "7:privatei1ee"
	if want := "d4:info" + info + "e"; string(torrent) != want {
		t.Errorf("torrent = %q; want %q", torrent, want)
	}
	infohash, err := Parse(torrent, pieces)
	if want := sha1.Sum([]byte(info)); err != nil || infohash != want {
		t.Errorf("Parse = %s, %v; want %s", hex.EncodeToString(infohash[:]), err, hex.EncodeToString(want[:]))
	}
}

func TestHashRefuses(t *testing.T) {
	for name, c := range map[string]struct{ size, pieceLength int64 }{
		"file shorter than told": {int64(len(twoAndAHalf)) + 1, images.MinPieceLength},
		"file longer than told":  {int64(len(twoAndAHalf)) - 1, images.MinPieceLength},
		"empty":                  {0, images.MinPieceLength},
		"odd piece length":       {int64(len(twoAndAHalf)), images.MinPieceLength + 1},
		"no piece length":        {int64(len(twoAndAHalf)), 0},
	} {
		if _, _, err := Hash(bytes.NewReader(twoAndAHalf), "x", c.size, c.pieceLength, nil); err == nil {
			t.Errorf("%s: Hash succeeded; want an error", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	pieces, torrent := hash(t, twoAndAHalf)
	shorter, _ := hash(t, twoAndAHalf[:images.MinPieceLength])
	larger := pieces
	larger.Length *= 2
	for name, c := range map[string]struct {
		torrent []byte
		pieces  images.Pieces
	}{
		"another length":       {torrent, shorter},
		"another piece length": {torrent, larger},
		"public":               {bytes.Replace(torrent, []byte("7:privatei1e"), []byte("7:privatei0e"), 1), pieces},
		"not said private":     {bytes.Replace(torrent, []byte("7:privatei1e"), nil, 1), pieces},
		"several files":        {bytes.Replace(torrent, []byte("d6:length"), []byte("d5:filesld6:lengthi40960e4:pathl1:aeee6:length"), 1), pieces},
		"cut off":              {torrent[:len(torrent)-1], pieces},
		"something after it":   {append(bytes.Clone(torrent), 'e'), pieces},
	} {
		if _, err := Parse(c.torrent, c.pieces); err == nil {
			t.Errorf("%s: Parse succeeded; want an error", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	pieces, torrent := hash(f, twoAndAHalf)
	f.Add(torrent)
	f.Add([]byte("d4:infod6:lengthi-1e6:pieces0:ee"))
	f.Fuzz(func(t *testing.T, data []byte) {
		infohash, err := Parse(data, pieces)
		if err == nil && !bytes.Contains(data, []byte("7:privatei")) {
			t.Errorf("Parse(%q) = %x; want an error: it is not private", data, infohash)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	file := make([]byte, 16<<20)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, _, err := Hash(bytes.NewReader(file), "x", int64(len(file)), images.DefaultPieceLength, nil); err != nil {
			b.Fatal(err)
		}
	}
}
