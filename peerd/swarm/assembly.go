package swarm

import (
	"net/netip"
	"slices"
	"sync"
)

// assembly gathers the blocks of unfinished pieces in memory.
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
	there  []bool       // by block
	left   int          // blocks that aren't there
	givers []netip.Addr // whose blocks it has
}

func newAssembly(length func(piece int) int) *assembly {
	return &assembly{length: length, pieces: make(map[int]*unfinished)}
}

func blockCount(size int) int { return (size + blockLength - 1) / blockLength }

// begin puts a draft into the place of a piece that is still to begin. It counts as
// a giver: should the piece be wrong, it may not be the fault of who gave the rest.
func (a *assembly) begin(d Draft) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := &unfinished{piece: d.Piece, data: d.Data, there: d.Known, givers: []netip.Addr{{}}}
	for _, known := range d.Known {
		if !known {
			u.left++
		}
	}
	if u.left > 0 { // else nothing would ever arrive, and be judged
		a.pieces[d.Piece] = u
	}
}

// missing lists the blocks of a piece that aren't there.
func (a *assembly) missing(piece int) (blocks []block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.pieces[piece]
	if u == nil {
		size := a.length(piece)
		u = &unfinished{piece: piece, data: a.buffer(size), there: make([]bool, blockCount(size))}
		u.left = len(u.there)
		a.pieces[piece] = u
	}
	for i, there := range u.there {
		if !there {
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

// add puts a block that has come to where it belongs, and tells whether it was
// wanted. whole is its piece if no block of that is missing any more.
func (a *assembly) add(k block, data []byte, giver netip.Addr) (whole *unfinished, wanted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.pieces[k.piece]
	if u == nil || u.there[k.begin/blockLength] {
		return nil, false
	}
	copy(u.data[k.begin:], data)
	u.there[k.begin/blockLength] = true
	if !slices.Contains(u.givers, giver) {
		u.givers = append(u.givers, giver)
	}
	u.left--
	if u.left > 0 {
		return nil, true
	}
	return u, true
}

// drop forgets a piece that has come by another way.
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
