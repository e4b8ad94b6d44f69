// Package piececache keeps pieces on a disk partition of the machine, so that its
// next boot fetches only what it lacks, also of another version of the image:
// pieces are found by their SHA-256.
//
// The partition holds a header, an index with one entry for each slot, and the
// slots, one piece each. Nothing that is read here is believed: the caller
// compares it with the manifest before use. So it does not matter in what order
// writes reach the disk, or whether they do before the power goes.
//
// Open takes the partition. peerd's root server is the only caller.
package piececache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"swarmboot/images"
	"swarmboot/initramfs/partition"
)

// What lies where on a partition: all numbers are little-endian.
const (
	magic      = "swarmboot cache\x01"
	headerSize = 4096                // magic, slot size, number of slots, CRC-32 of these
	entrySize  = sha256.Size + 4 + 4 // of a slot: the piece's SHA-256, its length, CRC-32 of these
	slotSize   = images.DefaultPieceLength
	align      = 4096
)

// A Sum is the SHA-256 of a piece.
type Sum = [sha256.Size]byte

// Cache is an open partition. It belongs to one goroutine.
type Cache struct {
	f     *os.File
	slots []Sum        // what each slot holds; zero: nothing
	at    map[Sum]int  // slot of each piece
	wants map[Sum]bool // pieces of the image that boots: they are not thrown out
	sizes map[int]int  // length of the piece in each slot
	next  int          // slot that is looked at next for a new piece
}

// Open takes the partition at path, for a machine that boots an image with those
// pieces. An empty one is made a cache; one with anything else in it is
// partition.ErrTaken.
func Open(path string, pieces images.Pieces) (*Cache, error) {
	if pieces.Length > slotSize {
		return nil, fmt.Errorf("cache %s takes pieces of %d bytes at most; the image's have %d", path, slotSize, pieces.Length)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &Cache{f: f, at: map[Sum]int{}, wants: map[Sum]bool{}, sizes: map[int]int{}}
	for i := range pieces.Count() {
		c.wants[pieces.Sum(i)] = true
	}
	if err := c.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("cache %s: %w", path, err)
	}
	return c, nil
}

// load reads header and index, or writes them to an empty partition.
func (c *Cache) load() error {
	size, err := c.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	count := capacity(size)
	if count < 1 {
		return fmt.Errorf("it has %d bytes; want some hundred MiB", size)
	}
	head := make([]byte, headerSize)
	if _, err := c.f.ReadAt(head, 0); err != nil {
		return err
	}
	want := header(count)
	c.slots = make([]Sum, count)
	if !bytes.Equal(head, want) {
		// A cache whose partition has been made larger or smaller since is as good as
		// empty.
		if !bytes.HasPrefix(head, []byte(magic)) {
			if err := partition.MustBeEmpty(c.f); err != nil {
				return err
			}
		}
		// The index first: a header speaks for all that follows it.
		if _, err := c.f.WriteAt(make([]byte, count*entrySize), headerSize); err != nil {
			return err
		}
		if err := c.f.Sync(); err != nil {
			return err
		}
		_, err := c.f.WriteAt(want, 0)
		return errors.Join(err, c.f.Sync())
	}
	index := make([]byte, count*entrySize)
	if _, err := c.f.ReadAt(index, headerSize); err != nil {
		return err
	}
	for i := range count {
		if sum, length, ok := parseEntry(index[i*entrySize:][:entrySize]); ok {
			c.slots[i], c.at[sum], c.sizes[i] = sum, i, length
		}
	}
	return nil
}

// capacity is how many slots fit into size bytes.
func capacity(size int64) int {
	return int(max(0, size-headerSize-align) / (slotSize + entrySize))
}

// offset is where slot i begins.
func (c *Cache) offset(i int) int64 {
	begin := headerSize + int64(len(c.slots))*entrySize
	return (begin+align-1)/align*align + int64(i)*slotSize
}

func header(count int) []byte {
	h := append(make([]byte, 0, headerSize), magic...)
	h = binary.LittleEndian.AppendUint64(h, slotSize)
	h = binary.LittleEndian.AppendUint64(h, uint64(count))
	h = binary.LittleEndian.AppendUint32(h, crc32.ChecksumIEEE(h))
	return h[:headerSize]
}

func entry(sum Sum, length int) []byte {
	e := binary.LittleEndian.AppendUint32(sum[:], uint32(length))
	return binary.LittleEndian.AppendUint32(e, crc32.ChecksumIEEE(e))
}

// parseEntry reads what entry wrote; ok is false for a slot without a piece.
func parseEntry(e []byte) (sum Sum, length int, ok bool) {
	body := e[:entrySize-4]
	length = int(binary.LittleEndian.Uint32(body[sha256.Size:]))
	ok = length > 0 && length <= slotSize && crc32.ChecksumIEEE(body) == binary.LittleEndian.Uint32(e[entrySize-4:])
	return Sum(body), length, ok
}

// Has tells whether the piece with that sum is said to be here.
func (c *Cache) Has(sum Sum) bool {
	_, ok := c.at[sum]
	return ok
}

// Get reads the piece with that sum; its bytes may be wrong. It has none if they
// are not here.
func (c *Cache) Get(sum Sum) ([]byte, error) {
	i, ok := c.at[sum]
	if !ok {
		return nil, nil
	}
	data := make([]byte, c.sizes[i])
	if _, err := c.f.ReadAt(data, c.offset(i)); err != nil {
		return nil, fmt.Errorf("read a piece from the cache: %w", err)
	}
	return data, nil
}

// Forget says that the piece with that sum was not what it should be.
func (c *Cache) Forget(sum Sum) {
	if i, ok := c.at[sum]; ok {
		delete(c.at, sum)
		c.slots[i] = Sum{}
	}
}

// Put keeps a piece. When all slots are taken, it goes in place of one that the
// image does not have; kept is false if there is none of these.
func (c *Cache) Put(sum Sum, data []byte) (kept bool, err error) {
	if c.Has(sum) {
		return true, nil
	}
	i, ok := c.room()
	if !ok {
		return false, nil
	}
	delete(c.at, c.slots[i])
	if _, err := c.f.WriteAt(data, c.offset(i)); err != nil {
		return false, fmt.Errorf("write a piece to the cache: %w", err)
	}
	if _, err := c.f.WriteAt(entry(sum, len(data)), headerSize+int64(i)*entrySize); err != nil {
		return false, fmt.Errorf("write the cache's index: %w", err)
	}
	c.slots[i], c.at[sum], c.sizes[i] = sum, i, len(data)
	return true, nil
}

// room finds a slot for a new piece, each in its turn.
func (c *Cache) room() (slot int, ok bool) {
	for range c.slots {
		slot, c.next = c.next, (c.next+1)%len(c.slots)
		if sum := c.slots[slot]; sum == (Sum{}) || !c.wants[sum] {
			return slot, true
		}
	}
	return 0, false
}

// Close waits until the disk has all, and lets go of the partition.
func (c *Cache) Close() error { return errors.Join(c.f.Sync(), c.f.Close()) }
