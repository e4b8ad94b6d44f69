package leasestore

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSound tears a page of each kind in each way that would lead the library
// astray. That the test ends at all is half of it.
func TestSound(t *testing.T) {
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
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := readMeta(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := sound(whole); err != nil {
		t.Fatalf("sound = %v; want nothing of a whole file", err)
	}
	size := int(m.pageSize)
	for _, c := range []struct {
		name string
		kind byte
		tear func(page []byte, id uint64)
	}{
		{"a branch that leads to itself", kindBranch, func(p []byte, id uint64) { order.PutUint64(p[pageHeader+8:], id) }},
		{"a branch that leads beyond the end", kindBranch, func(p []byte, _ uint64) { order.PutUint64(p[pageHeader+8:], 1<<60) }},
		{"a branch without elements", kindBranch, func(p []byte, _ uint64) { order.PutUint16(p[10:], 0) }},
		{"a key beyond its page", kindLeaf, func(p []byte, _ uint64) { order.PutUint32(p[pageHeader+4:], 1<<31) }},
		{"a value without end", kindLeaf, func(p []byte, _ uint64) { order.PutUint32(p[pageHeader+12:], 1<<32-1) }},
		{"more elements than fit", kindLeaf, func(p []byte, _ uint64) { order.PutUint16(p[10:], 1<<16-1) }},
		{"a page that goes on beyond the end", kindLeaf, func(p []byte, _ uint64) { order.PutUint32(p[12:], 1<<32-1) }},
		{"a page of no kind", kindLeaf, func(p []byte, _ uint64) { order.PutUint16(p[8:], 3) }},
		{"another page's number", kindLeaf, func(p []byte, id uint64) { order.PutUint64(p, id+1) }},
		{"more free pages than memory", kindFree, func(p []byte, _ uint64) {
			order.PutUint16(p[10:], manyFree)
			order.PutUint64(p[pageHeader:], 1<<40)
		}},
		{"a free page beyond the end", kindFree, func(p []byte, _ uint64) { order.PutUint64(p[pageHeader:], m.end) }},
	} {
		torn := append([]byte(nil), whole...)
		pages := 0
		for id := 2; id < len(torn)/size; id++ {
			if page := torn[id*size:][:size]; page[8] == c.kind && order.Uint16(page[10:]) > 0 {
				c.tear(page, uint64(id))
				pages++
			}
		}
		if pages == 0 {
			t.Fatalf("%s: the file has no such page; more leases are needed", c.name)
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if db, err := openChecked(path); !errors.Is(err, errDamaged) {
			t.Errorf("%s: openChecked = %v, %v; want %v", c.name, db, err, errDamaged)
		}
	}
}

// TestOneMeta: the file is read by its other head when one is torn.
func TestOneMeta(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	db, err := openChecked(path)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := os.Getpagesize()
	for torn := range 2 {
		one := append([]byte(nil), whole...)
		one[torn*size+pageHeader] ^= 1
		if m, err := readMeta(one); err != nil || int(m.pageSize) != size {
			t.Errorf("readMeta without meta %d = %+v, %v", torn, m, err)
		}
	}
}

// FuzzSound is given pages that begin with a meta of the right checksum.
func FuzzSound(f *testing.F) {
	const size = 1 << 10
	page := func(id uint64, kind, count uint16, elements ...uint32) []byte {
		b := order.AppendUint64(nil, id)
		b = order.AppendUint16(b, kind)
		b = append(order.AppendUint16(b, count), 0, 0, 0, 0)
		for _, e := range elements {
			b = order.AppendUint32(b, e)
		}
		return append(b, make([]byte, size-len(b))...)
	}
	free := page(2, kindFree, 1, 5, 0)
	leaf := page(4, kindLeaf, 1, bucketElement, 16, 4, 32, 0, 0, 0, 0, 0) // a bucket whose page follows, of no kind
	f.Add(append(append(free, page(3, kindBranch, 1, 16, 4, 4, 0)...), leaf...))
	f.Add(append(free, page(3, kindBranch, 1, 16, 4, 3, 0)...)) // a circle
	f.Fuzz(func(t *testing.T, rest []byte) {
		head := page(0, kindMeta, 0, 0xED0CDAED, 2, size, 0, 3, 0, 0, 0, 2, 0, 6, 0, 1, 0)
		sum := fnv.New64a()
		sum.Write(head[pageHeader:][:56])
		order.PutUint64(head[pageHeader+56:], sum.Sum64())
		file := append(append(head, make([]byte, size)...), rest...)
		if _, err := readMeta(file); err != nil {
			t.Fatal(fmt.Errorf("readMeta = %w; the head is right", err))
		}
		if err := sound(file); err != nil && !errors.Is(err, errDamaged) {
			t.Errorf("sound = %v; want nothing or %v", err, errDamaged)
		}
	})
}
