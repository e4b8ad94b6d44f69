package leasestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// errDamaged says that a file is none of ours, or has been torn.
var errDamaged = errors.New("the file is damaged")

// The pages of a file, as the library lays them out. Each begins with its number
// (8 bytes), its kind and the count of its elements (2 each), and how many pages it
// goes on for beyond the first (4). Numbers are in the host's byte order.
const (
	pageHeader    = 16
	pageElement   = 16
	kindBranch    = 1
	kindLeaf      = 2
	kindMeta      = 4
	kindFree      = 16
	bucketElement = 1      // flag of a leaf's element: its value is a bucket
	bucketHeader  = 16     // of such a value: its root, 0 if its page follows, and a counter
	manyFree      = 0xFFFF // count of a list of free pages whose true count comes first
	noFreeList    = ^uint64(0)
)

var order = binary.NativeEndian

// sound says whether the library may be given the file. It trusts what it reads:
// a torn count makes it ask for more memory than there is, a page that leads back to
// itself is followed until the memory is full, and an element beyond its page is a
// fault. What it notices itself is left to it: keys out of order, pages that are used
// twice or not at all.
func sound(file []byte) error {
	m, err := readMeta(file)
	if err != nil {
		return err
	}
	p := pages{file: file, size: uint64(m.pageSize), seen: map[uint64]bool{}}
	if m.free != noFreeList {
		if err := p.freeList(m.free, m.end); err != nil {
			return err
		}
	}
	return p.tree(m.root)
}

// A meta says where everything begins.
type meta struct {
	pageSize  uint32
	root      uint64 // page of the bucket that holds all others
	free      uint64 // page of the list of free pages
	end       uint64 // no page has this number or a greater one
	committed uint64 // counts the commits
}

// readMeta returns the newer of the two metas, of which one may be torn. They are
// the first two pages; where the second begins has to be tried if the first does not
// tell.
func readMeta(file []byte) (newest meta, err error) {
	first, err := parseMeta(file)
	sizes := []uint32{first.pageSize}
	if err != nil {
		sizes = sizes[:0]
		for size := uint32(1 << 10); size <= 1<<24; size <<= 1 {
			sizes = append(sizes, size)
		}
	}
	newest = first
	for _, size := range sizes {
		if uint64(size) > uint64(len(file)) {
			break
		}
		second, errSecond := parseMeta(file[size:])
		if errSecond == nil && second.pageSize == size && (err != nil || second.committed > first.committed) {
			newest, err = second, nil
		}
	}
	return newest, err
}

// parseMeta reads the meta that the page holds.
func parseMeta(page []byte) (meta, error) {
	const magic, version, length = 0xED0CDAED, 2, 56 // the last without the checksum
	if len(page) < pageHeader+length+8 {
		return meta{}, fmt.Errorf("%w: it is cut off", errDamaged)
	}
	m := page[pageHeader:]
	sum := fnv.New64a()
	sum.Write(m[:length])
	if order.Uint32(m) != magic || order.Uint32(m[4:]) != version || order.Uint64(m[length:]) != sum.Sum64() ||
		order.Uint16(page[8:]) != kindMeta || order.Uint32(m[8:]) < 1<<10 {
		return meta{}, fmt.Errorf("%w: its head is none of a lease file", errDamaged)
	}
	return meta{
		pageSize: order.Uint32(m[8:]), root: order.Uint64(m[16:]), free: order.Uint64(m[32:]),
		end: order.Uint64(m[40:]), committed: order.Uint64(m[48:]),
	}, nil
}

type pages struct {
	file []byte
	size uint64
	seen map[uint64]bool
}

// take returns the page, with those that it goes on for, and its kind and count. A
// page is taken once.
func (p pages) take(id uint64) (page []byte, kind, count uint16, err error) {
	there := uint64(len(p.file)) / p.size
	if id < 2 || id >= there || p.seen[id] {
		return nil, 0, 0, fmt.Errorf("%w: page %d is used twice, or is not there", errDamaged, id)
	}
	p.seen[id] = true
	page = p.file[id*p.size:]
	more := uint64(order.Uint32(page[12:]))
	if order.Uint64(page) != id || more >= there-id {
		return nil, 0, 0, fmt.Errorf("%w: page %d is torn", errDamaged, id)
	}
	return page[:(1+more)*p.size], order.Uint16(page[8:]), order.Uint16(page[10:]), nil
}

// freeList reads the list of free pages: how many, if they are many, and the number
// of each (8 bytes).
func (p pages) freeList(id, end uint64) error {
	page, kind, count, err := p.take(id)
	if err != nil {
		return err
	}
	free, many := page[pageHeader:], uint64(count)
	if count == manyFree {
		many, free = order.Uint64(free), free[8:]
	}
	if kind != kindFree || many > uint64(len(free))/8 {
		return fmt.Errorf("%w: the list of free pages is torn", errDamaged)
	}
	for i := range many {
		if id := order.Uint64(free[8*i:]); id < 2 || id >= end {
			return fmt.Errorf("%w: page %d is free, but is not there", errDamaged, id)
		}
	}
	return nil
}

// tree follows the pages from root down, those of the buckets within too.
func (p pages) tree(root uint64) error {
	for next := []uint64{root}; len(next) > 0; {
		id := next[0]
		next = next[1:]
		page, kind, count, err := p.take(id)
		if err != nil {
			return err
		}
		var below []uint64
		switch {
		case kind == kindBranch && count > 0:
			below, err = branch(page, count)
		case kind == kindLeaf:
			below, err = leaf(page, count)
		default:
			err = errDamaged
		}
		if err != nil {
			return fmt.Errorf("%w: page %d is torn", err, id)
		}
		next = append(next, below...)
	}
	return nil
}

// branch returns the pages below. An element has the distance from itself to its key
// and the key's length (4 bytes each), and the number of a page.
func branch(page []byte, count uint16) (below []uint64, err error) {
	for i := range int(count) {
		at := pageHeader + i*pageElement
		if len(page) < at+pageElement || !within(page[at:], order.Uint32(page[at:]), order.Uint32(page[at+4:]), 0) {
			return nil, errDamaged
		}
		below = append(below, order.Uint64(page[at+8:]))
	}
	return below, nil
}

// leaf returns the roots of the buckets that the page holds. An element has flags,
// the distance from itself to its key, and the lengths of key and value (4 bytes
// each); the value follows the key.
func leaf(page []byte, count uint16) (roots []uint64, err error) {
	for i := range int(count) {
		at := pageHeader + i*pageElement
		if len(page) < at+pageElement {
			return nil, errDamaged
		}
		element := page[at:]
		distance, key, value := order.Uint32(element[4:]), order.Uint32(element[8:]), order.Uint32(element[12:])
		if !within(element, distance, key, value) {
			return nil, errDamaged
		}
		if order.Uint32(element)&bucketElement == 0 {
			continue
		}
		bucket := element[distance+key:][:value]
		if len(bucket) < bucketHeader {
			return nil, errDamaged
		}
		if root := order.Uint64(bucket); root != 0 {
			roots = append(roots, root)
			continue
		}
		inline := bucket[bucketHeader:]
		if len(inline) < pageHeader || order.Uint16(inline[8:]) != kindLeaf {
			return nil, errDamaged
		}
		if nested, err := leaf(inline, order.Uint16(inline[10:])); err != nil || len(nested) > 0 {
			return nil, errDamaged
		}
	}
	return roots, nil
}

// within says whether key and value lie in the page that begins with their element.
func within(element []byte, distance, key, value uint32) bool {
	return uint64(distance)+uint64(key)+uint64(value) <= uint64(len(element))
}
