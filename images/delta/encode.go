package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"swarmboot/images"
)

// magic begins a delta; the last byte is the version of its form.
const magic = "swarmboot delta\x01"

// MaxSize bounds a delta in bytes.
const MaxSize = 16 << 20

// Marshal encodes d: both sizes and the old pieces' length and hashes, then for
// each copy how far it begins behind the one before, here and in the old root,
// and its length.
func (d Delta) Marshal() []byte {
	data := []byte(magic)
	for _, n := range []int64{d.Size, d.Old.Size, d.Old.Length} {
		data = binary.AppendUvarint(data, uint64(n))
	}
	data = append(data, d.Old.SHA256...)
	var last Copy
	for _, c := range d.Copies {
		data = binary.AppendUvarint(data, uint64(c.Offset-last.end()))
		data = binary.AppendVarint(data, c.From-last.From-last.Length)
		data = binary.AppendUvarint(data, uint64(c.Length))
		last = c
	}
	return data
}

var errShort = errors.New("delta: cut short")

// Parse reads what Marshal has written. Every copy lies in both roots.
func Parse(data []byte) (d Delta, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok {
		return Delta{}, errors.New("delta: none, or one of another version")
	}
	number := func() int64 {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > 1<<48 {
			err = errShort
			return 0
		}
		rest = rest[used:]
		return int64(n)
	}
	d.Size, d.Old.Size, d.Old.Length = number(), number(), number()
	if err != nil {
		return Delta{}, err
	}
	if d.Old.Length < images.MinPieceLength || d.Old.Length > images.MaxPieceLength {
		return Delta{}, fmt.Errorf("delta: pieces of %d bytes", d.Old.Length)
	}
	hashes := int64(d.Old.Count()) * sha256.Size
	if hashes > int64(len(rest)) {
		return Delta{}, errShort
	}
	d.Old.SHA256, rest = rest[:hashes], rest[hashes:]
	var last Copy
	for len(rest) > 0 {
		c := Copy{Offset: last.end() + number()}
		move, used := binary.Varint(rest)
		if used <= 0 {
			return Delta{}, errShort
		}
		rest = rest[used:]
		c.From, c.Length = last.From+last.Length+move, number()
		if err != nil {
			return Delta{}, err
		}
		if c.Length == 0 || c.From < 0 || c.From > d.Old.Size-c.Length || c.Offset > d.Size-c.Length {
			return Delta{}, fmt.Errorf("delta: %d bytes from %d to %d, of %d and %d", c.Length, c.From, c.Offset, d.Old.Size, d.Size)
		}
		d.Copies = append(d.Copies, c)
		last = c
	}
	return d, nil
}
