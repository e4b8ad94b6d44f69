package leasestore

import (
	"encoding/binary"
	"fmt"
)

// walk sees to it that the tree of pages below root has an end: the library follows
// a torn page that leads back to itself until the memory is full.
//
// A page begins with its number (8 bytes), flags and the count of its elements (2
// each); elements of 16 bytes follow. That of a branch has the page below at 8. That
// of a leaf has flags, the distance of its key, and the sizes of key and value (4
// each); the value of a bucket begins with the bucket's root, 0 if it has no page.
func walk(file []byte, pageSize int, root uint64) error {
	const branch, leaf, bucket, header, element = 1, 2, 1, 16, 16
	order := binary.NativeEndian // as the library has it
	seen := map[uint64]bool{}
	for next := []uint64{root}; len(next) > 0; {
		id := next[0]
		next = next[1:]
		if seen[id] || id >= uint64(len(file)/pageSize) {
			return fmt.Errorf("%w: page %d is used twice, or is not there", errDamaged, id)
		}
		seen[id] = true
		page := file[id*uint64(pageSize):]
		flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
		if len(page) < header+count*element {
			return fmt.Errorf("%w: page %d is cut off", errDamaged, id)
		}
		for i := range count {
			e := page[header+i*element:]
			switch {
			case flags&branch != 0:
				next = append(next, order.Uint64(e[8:]))
			case flags&leaf != 0 && order.Uint32(e)&bucket != 0:
				value := uint64(order.Uint32(e[4:])) + uint64(order.Uint32(e[8:]))
				if uint64(len(e)) < value+8 {
					return fmt.Errorf("%w: page %d is cut off", errDamaged, id)
				}
				if below := order.Uint64(e[value:]); below != 0 {
					next = append(next, below)
				}
			}
		}
	}
	return nil
}
