// Package delta says how blocks of an image can be made of the pieces of another
// version, so that a machine which has kept the old ones fetches only what is new.
//
// A squashfs file that is packed anew differs from its predecessor in few of its
// compressed blocks, but those that are the same have moved, so almost no piece
// is the same. Find looks where they have moved to, as rsync does. What comes of
// it is only a hint: each piece that is put together is verified like one from
// the network.
//
// bootserver makes deltas for machines with a cache, peerd follows them, and
// 'swarmboot image diff' tells what they are worth. encode.go is how they travel.
package delta

import (
	"bytes"
	"sort"

	"swarmboot/images"
)

// A Delta is what an old root and a new one have in common.
type Delta struct {
	Old    images.Pieces // of the old root
	Size   int64         // of the new root, bytes
	Copies []Copy        // in the order of Offset; none overlaps another
}

// A Copy is a run of bytes that the new root has at Offset and the old one at From.
type Copy struct{ Offset, From, Length int64 }

func (c Copy) end() int64 { return c.Offset + c.Length }

// BlockLength is the bytes of a block of the new root: what peers ask each other for
// at once (BEP 3), and so the least that a machine can fetch.
const BlockLength = 16 << 10

// window is the shortest run that is looked for, in bytes. A block of squashfs
// that is worth moving has several times as many.
const window = 4 << 10

// Find compares two roots. What does not help to make a whole block of the new one
// is left out, as that block is fetched anyway.
func Find(oldRoot []byte, oldPieces images.Pieces, newRoot []byte) Delta {
	d := Delta{Old: oldPieces, Size: int64(len(newRoot))}
	all := common(oldRoot, newRoot)
	for at, n := range d.blocks {
		for _, c := range cover(all, at, n) {
			d.add(c)
		}
	}
	return d
}

// blocks goes through the new root: where each block begins, and its bytes.
func (d Delta) blocks(yield func(at, n int64) bool) {
	for at := int64(0); at < d.Size && yield(at, min(BlockLength, d.Size-at)); at += BlockLength {
	}
}

// Missing is how many bytes of the new root somebody fetches who has the old one.
func (d Delta) Missing() (missing int64) {
	for at, n := range d.blocks {
		if d.Cover(at, n) == nil {
			missing += n
		}
	}
	return missing
}

// add appends c, or lengthens the last copy by it.
func (d *Delta) add(c Copy) {
	if n := len(d.Copies); n > 0 {
		if last := &d.Copies[n-1]; last.end() == c.Offset && last.From+last.Length == c.From {
			last.Length += c.Length
			return
		}
	}
	d.Copies = append(d.Copies, c)
}

// Cover returns where the old root has the n bytes at offset of the new one, in
// their order; nothing unless it has all of them.
func (d Delta) Cover(offset, n int64) []Copy { return cover(d.Copies, offset, n) }

func cover(copies []Copy, offset, n int64) (parts []Copy) {
	end := offset + n
	first := sort.Search(len(copies), func(i int) bool { return copies[i].end() > offset })
	for _, c := range copies[first:] {
		if offset == end {
			break
		}
		if c.Offset > offset {
			return nil
		}
		length := min(c.end(), end) - offset
		parts = append(parts, Copy{offset, c.From + offset - c.Offset, length})
		offset += length
	}
	if offset < end {
		return nil
	}
	return parts
}

// common finds runs of b in a. It knows each window of a by its hash, and slides
// over b.
func common(a, b []byte) (copies []Copy) {
	index := make(map[uint64]int, len(a)/window)
	var known filter
	for at := 0; at+window <= len(a); at += window {
		h := hash(a[at:][:window])
		if _, ok := index[h]; !ok {
			index[h] = at
			known.add(h)
		}
	}
	done := 0 // of b, up to where all is decided
	for at := 0; at+window <= len(b); {
		h := hash(b[at:][:window])
		found := -1
		for {
			if known.has(h) {
				if from, ok := index[h]; ok && bytes.Equal(a[from:][:window], b[at:][:window]) {
					found = from
					break
				}
			}
			if at+window >= len(b) {
				return copies
			}
			h = roll(h, b[at], b[at+window])
			at++
		}
		back := 0
		for at-back > done && found-back > 0 && a[found-back-1] == b[at-back-1] {
			back++
		}
		n := window
		for at+n < len(b) && found+n < len(a) && a[found+n] == b[at+n] {
			n++
		}
		copies = append(copies, Copy{int64(at - back), int64(found - back), int64(n + back)})
		at += n
		done = at
	}
	return copies
}

// The hash of a window is a polynomial in its bytes, so that it can be moved on
// by one byte.
const multiplier = 0x9E3779B97F4A7C15 | 1

var leaving = func() uint64 { // multiplier to the power of window
	p := uint64(1)
	for range window {
		p *= multiplier
	}
	return p
}()

func hash(p []byte) (h uint64) {
	for _, b := range p {
		h = h*multiplier + uint64(b) + 1
	}
	return h
}

func roll(h uint64, out, in byte) uint64 {
	return h*multiplier + uint64(in) + 1 - leaving*(uint64(out)+1)
}

// A filter says of most hashes that are not in the index that they are not: it
// fits into the processor's cache, and the index does not.
type filter [1 << 16]uint64

func (f *filter) add(h uint64)      { f[h>>48] |= 1 << (h >> 42 & 63) }
func (f *filter) has(h uint64) bool { return f[h>>48]&(1<<(h>>42&63)) != 0 }
