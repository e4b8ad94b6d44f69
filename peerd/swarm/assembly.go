package swarm

import (
	"net/netip"
	"slices"
	"sync"
)

// assembly gathers the blocks of unfinished pieces in memory. Connections write
// into it straight from their sockets.
type assembly struct {
	length func(piece int) int

	mu     sync.Mutex
	pieces map[int]*unfinished // guarded by mu
	spare  [][]byte            // to be used again; guarded by mu
}

// unfinished is a piece of which some blocks may be there. It stays in the
// assembly until the store has judged it.
type unfinished struct {
	piece  int
	data   []byte
	blocks []blockState
	left   int          // blocks that aren't there
	givers []netip.Addr // whose blocks it has
}

type blockState byte

const (
	absent blockState = iota
	arriving
	present
)

func newAssembly(length func(piece int) int) *assembly {
	return &assembly{length: length, pieces: make(map[int]*unfinished)}
}

func blockCount(size int) int { return (size + blockLength - 1) / blockLength }

// begin puts a draft into the place of a piece that is still to begin. It counts as
// a giver: should the piece be wrong, it may not be the fault of who gave the rest.
func (a *assembly) begin(d Draft) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := &unfinished{piece: d.Piece, data: d.Data, blocks: make([]blockState, len(d.Known)), givers: []netip.Addr{{}}}
	for i, known := range d.Known {
		if known {
			u.blocks[i] = present
		} else {
			u.left++
		}
	}
	if u.left > 0 { // else nothing would ever arrive, and be judged
		a.pieces[d.Piece] = u
	}
}

// missing lists the blocks of a piece that are neither there nor arriving.
func (a *assembly) missing(piece int) (blocks []block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.pieces[piece]
	if u == nil {
		size := a.length(piece)
		u = &unfinished{piece: piece, data: a.buffer(size), blocks: make([]blockState, blockCount(size))}
		u.left = len(u.blocks)
		a.pieces[piece] = u
	}
	for i, state := range u.blocks {
		if state == absent {
			begin := i * blockLength
			blocks = append(blocks, block{piece, begin, min(blockLength, len(u.data)-begin)})
		}
	}
	return blocks
}

// buffer returns memory for a piece. a.mu is held.
func (a *assembly) buffer(size int) []byte {
	if n := len(a.spare); n > 0 && cap(a.spare[n-1]) >= size {
		b := a.spare[n-1][:size]
		a.spare = a.spare[:n-1]
		return b
	}
	return make([]byte, size)
}

// arrive is where the bytes of a block go that comes now; nil if it isn't
// wanted any more.
func (a *assembly) arrive(k block) (u *unfinished, room []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u = a.pieces[k.piece]
	if u == nil || u.blocks[k.begin/blockLength] != absent {
		return nil, nil
	}
	u.blocks[k.begin/blockLength] = arriving
	return u, u.data[k.begin : k.begin+k.length]
}

// arrived notes whether the bytes of a block came, and tells whether that was
// the last of the piece.
func (a *assembly) arrived(u *unfinished, k block, giver netip.Addr, whole bool) (last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !whole {
		u.blocks[k.begin/blockLength] = absent
		return false
	}
	u.blocks[k.begin/blockLength] = present
	if !slices.Contains(u.givers, giver) {
		u.givers = append(u.givers, giver)
	}
	u.left--
	return u.left == 0 && a.pieces[u.piece] == u
}

// drop forgets a piece that has come by another way. Its memory may still be
// written to.
func (a *assembly) drop(piece int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pieces, piece)
}

// spareBuffers is how many buffers wait for the next piece: 2 MiB instead of
// garbage at the speed of the link.
const spareBuffers = 8

// retire forgets a piece of which all blocks have come and that the store has
// judged.
func (a *assembly) retire(u *unfinished) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pieces[u.piece] == u {
		delete(a.pieces, u.piece)
	}
	if len(a.spare) < spareBuffers {
		a.spare = append(a.spare, u.data)
	}
}
