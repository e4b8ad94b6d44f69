package schedule

import (
	"iter"
	"math/bits"
)

// peers knows the connections and what each of them has. A peer has a slot,
// and a piece one bit for each slot: who can give a piece, and how many can, is
// an operation on a word or two, however many pieces there are.
type peers struct {
	pieces  int
	slots   []*peer // nil: free
	byID    map[Peer]*peer
	has     [][]uint64 // by block of 64 slots, then by piece
	seeders set
	far     set // machines of other racks
	ready   set // what free returned last
}

// A set is a bit for each slot.
type set []uint64

// A reach is how far away a piece may be fetched.
type reach int

const (
	inRack   reach = iota // from machines of our rack
	machines              // from all machines
	anywhere              // also from the seeder
)

type peer struct {
	id     Peer
	slot   int
	seeder bool
	far    bool
	asked  int // pieces under way from it
}

func (p *peer) word() int   { return p.slot / 64 }
func (p *peer) bit() uint64 { return 1 << (p.slot % 64) }

// reach is how far away the peer is.
func (p *peer) reach() reach {
	switch {
	case p.seeder:
		return anywhere
	case p.far:
		return machines
	}
	return inRack
}

func newPeers(pieces int) peers { return peers{pieces: pieces, byID: make(map[Peer]*peer)} }

// add gives a peer the first free slot.
func (s *peers) add(id Peer, seeder bool) {
	p := &peer{id: id, seeder: seeder}
	for p.slot < len(s.slots) && s.slots[p.slot] != nil {
		p.slot++
	}
	if p.slot == len(s.slots) {
		s.slots = append(s.slots, nil)
	}
	if p.word() == len(s.has) {
		s.has = append(s.has, make([]uint64, s.pieces))
		s.seeders = append(s.seeders, 0)
		s.far = append(s.far, 0)
		s.ready = append(s.ready, 0)
	}
	s.slots[p.slot], s.byID[id] = p, p
	if seeder {
		s.seeders[p.word()] |= p.bit()
	}
}

// isFar notes that a machine stands in another rack.
func (s *peers) isFar(id Peer) {
	if p := s.byID[id]; p != nil && !p.seeder {
		p.far = true
		s.far[p.word()] |= p.bit()
	}
}

// remove frees the slot of a peer, if it has one.
func (s *peers) remove(id Peer) (found bool) {
	p := s.byID[id]
	if p == nil {
		return false
	}
	for piece := range s.has[p.word()] {
		s.has[p.word()][piece] &^= p.bit()
	}
	s.seeders[p.word()] &^= p.bit()
	s.far[p.word()] &^= p.bit()
	s.slots[p.slot] = nil
	delete(s.byID, id)
	return true
}

// offers notes that a machine has a piece; of the seeder that is known.
func (s *peers) offers(id Peer, piece int) {
	if p := s.byID[id]; p != nil && !p.seeder {
		s.has[p.word()][piece] |= p.bit()
	}
}

// holders is how many machines have a piece, near and far.
func (s *peers) holders(piece int) (near, far int) {
	for i, block := range s.has {
		near += bits.OnesCount64(block[piece] &^ s.far[i])
		far += bits.OnesCount64(block[piece] & s.far[i])
	}
	return near, far
}

// free is the set of peers that are ready, until it is asked again.
func (s *peers) free(ready func(Peer) bool) (free set, any bool) {
	clear(s.ready)
	for _, p := range s.slots {
		if p != nil && ready(p.id) {
			s.ready[p.word()] |= p.bit()
			any = true
		}
	}
	return s.ready, any
}

// none is a set without a peer, until it is asked again.
func (s *peers) none() set {
	clear(s.ready)
	return s.ready
}

// addHaving adds who has a piece, within reach, to a set, and yields those that
// were not in it.
func (s *peers) addHaving(to set, piece int, within reach, yield func(*peer)) {
	for i := range s.has {
		word := s.word(i, piece, within) &^ to[i]
		to[i] |= word
		for ; word != 0; word &= word - 1 {
			yield(s.slots[64*i+bits.TrailingZeros64(word)])
		}
	}
}

// all tells whether every peer is in a set.
func (s *peers) all(of set) bool {
	n := 0
	for _, word := range of {
		n += bits.OnesCount64(word)
	}
	return n == len(s.byID)
}

// word is who has a piece, within reach, of a block of slots.
func (s *peers) word(block, piece int, within reach) uint64 {
	word := s.has[block][piece]
	switch within {
	case inRack:
		word &^= s.far[block]
	case anywhere:
		word |= s.seeders[block]
	}
	return word
}

// having yields who has a piece, within reach, in the order of their slots. A
// set, unless nil, narrows the choice.
func (s *peers) having(piece int, within reach, of set) iter.Seq[*peer] {
	return func(yield func(*peer) bool) {
		for i := range s.has {
			word := s.word(i, piece, within)
			if of != nil {
				word &= of[i]
			}
			for ; word != 0; word &= word - 1 {
				if !yield(s.slots[64*i+bits.TrailingZeros64(word)]) {
					return
				}
			}
		}
	}
}
