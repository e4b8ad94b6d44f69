package leasestore

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPagesInACircle: each page that has others below leads back to itself. That
// the file is opened at all is half of the test.
func TestPagesInACircle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	s, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		l := Lease{Pool: "hall", Address: netip.AddrFrom4([4]byte{10, 77, 0, byte(i)}), MAC: [6]byte{2, 5: byte(i)}, Expires: time.Now()}
		if err := s.Claim(t.Context(), l, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	pageSize := s.db.Info().PageSize
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	circles := 0
	for at := 0; at < len(file); at += pageSize {
		if page := file[at:]; page[8] == 1 { // a branch
			copy(page[16+8:], binary.NativeEndian.AppendUint64(nil, uint64(at/pageSize)))
			circles++
		}
	}
	if circles == 0 {
		t.Fatal("the file has no branch; more leases are needed")
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := openChecked(path); !errors.Is(err, errDamaged) {
		t.Errorf("openChecked = %v, %v; want %v", db, err, errDamaged)
	}
}

func FuzzWalk(f *testing.F) {
	const pageSize = 64
	page := func(id uint64, flags, count uint16, elements ...uint32) []byte {
		b := binary.NativeEndian.AppendUint64(nil, id)
		b = binary.NativeEndian.AppendUint16(b, flags)
		b = append(binary.NativeEndian.AppendUint16(b, count), 0, 0, 0, 0)
		for _, e := range elements {
			b = binary.NativeEndian.AppendUint32(b, e)
		}
		return append(b, make([]byte, pageSize-len(b))...)
	}
	leaf := page(1, 2, 1, 1, 16, 4, 16, 0, 1, 0) // a bucket without a page
	f.Add(append(page(0, 1, 1, 0, 0, 1, 0), leaf...))
	f.Add(append(page(0, 1, 1, 0, 0, 0, 0), leaf...)) // a circle
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := walk(file, pageSize, 0); err != nil && !errors.Is(err, errDamaged) {
			t.Errorf("walk = %v; want nothing or %v", err, errDamaged)
		}
	})
}
