package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"swarmboot/initramfs/envelope"
)

func TestParseRef(t *testing.T) {
	if r, err := ParseRef("lab@1.2-rc_3"); err != nil || r != (Ref{"lab", "1.2-rc_3"}) {
		t.Errorf("ParseRef = %v, %v", r, err)
	}
	if text, err := json.Marshal(Ref{"lab", "1"}); err != nil || string(text) != `"lab@1"` {
		t.Errorf("JSON of a Ref = %s, %v; want one word", text, err)
	}
	for _, s := range []string{"", "lab", "lab@", "@1", "Lab@1", "lab@../x", "-lab@1", "a@b@c", strings.Repeat("a", 64) + "@1"} {
		if r, err := ParseRef(s); err == nil {
			t.Errorf("ParseRef(%q) = %v; want an error", s, r)
		}
	}
}

// testManifest describes a root of two and a half pieces.
func testManifest() (Manifest, []byte) {
	root := bytes.Repeat([]byte("0123456789abcdef"), 5*MinPieceLength/2/16)
	m := Manifest{Format: Format, Name: "lab", Version: "1", Arch: "amd64", Filesystem: "squashfs"}
	m.Root, _ = DigestPart(bytes.NewReader(root))
	m.Kernel, m.Modules, m.Torrent = m.Root, m.Root, m.Root
	m.Pieces = Pieces{Size: int64(len(root)), Length: MinPieceLength}
	for i := range m.Pieces.Count() {
		off := m.Pieces.Offset(i)
		sum := sha256.Sum256(root[off : off+int64(m.Pieces.Len(i))])
		m.Pieces.SHA256 = append(m.Pieces.SHA256, sum[:]...)
	}
	return m, root
}

func TestPieces(t *testing.T) {
	m, root := testManifest()
	p := m.Pieces
	if p.Count() != 3 || p.Len(2) != MinPieceLength/2 {
		t.Fatalf("Count = %d, Len(2) = %d", p.Count(), p.Len(2))
	}
	if first, last := p.Spanned(MinPieceLength-1, 2); first != 0 || last != 1 {
		t.Errorf("Spanned = %d, %d; want 0, 1", first, last)
	}
	tail := bytes.Clone(root[p.Offset(2):])
	if err := p.Verify(2, tail); err != nil {
		t.Errorf("Verify(2) = %v", err)
	}
	tail[0] ^= 1
	for _, c := range []struct {
		piece int
		data  []byte
	}{{2, tail}, {2, tail[1:]}, {1, root[:MinPieceLength-1]}, {3, nil}, {-1, nil}} {
		if err := p.Verify(c.piece, c.data); !errors.Is(err, ErrBadPiece) {
			t.Errorf("Verify(%d, %d bytes) = %v; want ErrBadPiece", c.piece, len(c.data), err)
		}
	}
}

func TestManifestRoundTrip(t *testing.T) {
	key, _ := envelope.NewKey()
	m, _ := testManifest()
	data, digest, err := m.Seal(key)
	if err != nil {
		t.Fatal(err)
	}
	got, gotDigest, err := OpenManifest([]envelope.PublicKey{key.Public()}, data)
	if err != nil || gotDigest != digest || got.Root != m.Root || got.Ref() != m.Ref() {
		t.Errorf("OpenManifest = %+v, %s, %v", got, gotDigest, err)
	}
}

func TestValidateRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Manifest){
		"format":       func(m *Manifest) { m.Format = 9 },
		"name":         func(m *Manifest) { m.Name = "../etc" },
		"kernel":       func(m *Manifest) { m.Kernel.SHA256 = "beef" },
		"root size":    func(m *Manifest) { m.Root.Size++ },
		"piece length": func(m *Manifest) { m.Pieces.Length = 1000 },
		"zero length":  func(m *Manifest) { m.Pieces.Length = 0 },
		"piece hashes": func(m *Manifest) { m.Pieces.SHA256 = m.Pieces.SHA256[1:] },
	} {
		m, _ := testManifest()
		spoil(&m)
		if err := m.Validate(); err == nil {
			t.Errorf("%s: Validate() = nil; want an error", name)
		}
	}
}

func FuzzOpenManifestPayload(f *testing.F) {
	key, _ := envelope.NewKey()
	f.Add([]byte(`{"format":1,"name":"a","version":"1","pieces":{"size":1,"length":16384,"sha256":""}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		data, err := envelope.Sign(key, envelope.ManifestType, payload)
		if err != nil {
			t.Skip()
		}
		m, _, err := OpenManifest([]envelope.PublicKey{key.Public()}, data)
		if err == nil && m.Pieces.Count() < 1 {
			t.Error("a manifest without pieces was accepted")
		}
	})
}
