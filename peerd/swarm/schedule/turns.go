package schedule

import (
	"slices"
	"time"
)

// An Urgency is how much a machine wants to ask a peer for a piece.
type Urgency byte

const (
	Nothing Urgency = iota // the peer has nothing for it
	Rest                   // nothing waits for the piece
	Profile                // the boot will read it
	Waiting                // a read waits for it
)

// slots is how many pieces a computer lets others ask it for at a time. There
// must be enough that its link does not run dry while a turn and the request for
// which it is given travel; all more is time that each piece waits behind others.
// Sixteen machines needed 1.64 of the bound for a boot with 3, 1.54 with 4, 1.51
// with 6, 1.52 with 8 and 1.68 with 12.
const slots = 6

// slotsEach is how many of them one machine of the rack has at most. The first that
// came to the seeder had all, and with them the first eighth of a second of a boot,
// in which the others had nothing to do. Sixteen machines needed 1.35 of the bound
// without this, 1.31 with 1, 1.32 with 2, and 1.34 with 3.
const slotsEach = 2

// turnKept is for how long a turn is believed to be of use. Who doesn't ask then
// hangs, or is very far; until it is heard of it gets no other.
const turnKept = time.Second

// Turns decides whom a computer lets ask it for a piece next. It is the other
// side of a Schedule, and as pure.
//
// If everybody asked at once for what he lacks, each would have decided long
// before the piece can be sent, for the one peer who had it then; a piece that is
// new would be asked of its first holder by all, who don't take it from those who
// have it next. So who finds something at a peer says only that he would like to
// ask, and how much (Wish); he decides for a piece when it's his turn. Then the
// piece goes out soon, and the next turn to those who need one most, in the order
// in which they came. Between equals a machine of another rack goes first: what it
// gets, its whole rack will have from it. In the simulator, eight racks of forty
// needed 1.32 of the bound for a boot with this, and 1.42 without.
type Turns[K comparable] struct {
	load   int // bytes that were asked for and have not been sent, and those of turns
	askers map[K]*asker
	lines  [Waiting + 1]struct{ far, near []place[K] } // those of Nothing: who is served last
	came   int
}

// An asker is a peer that may ask for pieces.
type asker struct {
	size   int // of a piece, bytes
	far    bool
	last   bool // it is served when nobody else wishes anything
	wish   Urgency
	place  int       // in the line
	turns  int       // that it hasn't used
	given  time.Time // when it was given the last of them
	late   bool      // it doesn't use its turns
	piece  int       // that it asked for last
	queued int       // bytes that it asked for and that have not been sent
	stuck  bool      // it doesn't take what is sent, and so they don't count
}

// A place in a line is void if its owner has another.
type place[K comparable] struct {
	who K
	at  int
}

// Join adds a peer that fetches pieces of so many bytes; far is one in another
// rack.
func (t *Turns[K]) Join(who K, pieceBytes int, far bool) {
	if t.askers == nil {
		t.askers = make(map[K]*asker)
	}
	t.askers[who] = &asker{size: pieceBytes, far: far, piece: -1}
}

// Last tells which peers are served last: when nobody else wishes anything.
func (t *Turns[K]) Last(which func(K) bool) {
	for who, a := range t.askers {
		if last := which(who); last != a.last {
			a.last = last
			t.queue(who, a)
		}
	}
}

// Leave forgets a peer.
func (t *Turns[K]) Leave(who K) {
	if a := t.askers[who]; a != nil {
		t.take(a, a.turns)
		t.unload(a, a.queued)
		delete(t.askers, who)
	}
}

// Wish tells that a peer wants to ask for a piece, and how much, or that it
// doesn't any more, and returns whether that is news. A wish holds until it is
// changed; but when a read waits, it waits for one piece.
func (t *Turns[K]) Wish(who K, u Urgency) (news bool) {
	a := t.askers[who]
	if a == nil || u > Waiting || a.wish == u && !a.late {
		return false
	}
	a.late = false
	a.wish = u
	t.queue(who, a)
	return true
}

// Pass tells that a peer has no use for its turn, nor for others.
func (t *Turns[K]) Pass(who K) {
	if a := t.askers[who]; a != nil {
		a.late, a.wish, a.place = false, Nothing, 0
		t.take(a, 1)
	}
}

// Asked tells that a peer asks for a part of a piece, in its turn or not.
func (t *Turns[K]) Asked(who K, piece, bytes int) {
	a := t.askers[who]
	if a == nil {
		return
	}
	if a.late {
		a.late = false
		t.queue(who, a)
	}
	if a.piece != piece || a.queued == 0 { // it may ask again for what was refused
		a.piece = piece
		t.take(a, 1)
	}
	a.queued += bytes
	if !a.stuck {
		t.load += bytes
	}
}

// Refused tells that a peer has used its turn for a part of a piece that it
// doesn't get.
func (t *Turns[K]) Refused(who K, piece int) {
	if a := t.askers[who]; a != nil && a.piece != piece {
		a.piece = piece
		t.take(a, 1)
		t.queue(who, a)
	}
}

// Sent tells that something that was asked for has been sent, or isn't wanted
// any more.
func (t *Turns[K]) Sent(who K, bytes int) {
	if a := t.askers[who]; a != nil {
		if a.stuck {
			a.stuck = false
			t.load += a.queued
		}
		t.unload(a, bytes)
		if a.place == 0 {
			t.queue(who, a)
		}
	}
}

// Stuck tells that a peer doesn't take what is sent to it. Others don't wait for
// it.
func (t *Turns[K]) Stuck(who K) {
	if a := t.askers[who]; a != nil && !a.stuck {
		a.stuck = true
		t.load -= a.queued
	}
}

// Next decides whose turn it is, if there is room for one more.
func (t *Turns[K]) Next(now time.Time) (who K, ok bool) {
	for i := range t.lines {
		lines := &t.lines[int(Waiting)-i]
		for _, line := range []*[]place[K]{&lines.far, &lines.near} {
			who, a := t.first(line)
			switch {
			case a == nil:
				continue
			case t.load+a.size > slots*a.size:
				return who, false
			}
			a.turns++
			a.given = now
			t.load += a.size
			a.wish = min(a.wish, Profile)
			t.queue(who, a)
			return who, true
		}
	}
	return who, false
}

// first is who has the first place of a line that isn't void.
func (t *Turns[K]) first(line *[]place[K]) (who K, a *asker) {
	for len(*line) > 0 {
		first := (*line)[0]
		if a := t.askers[first.who]; a != nil && a.place == first.at {
			return first.who, a
		}
		*line = (*line)[1:]
	}
	return who, nil
}

// Expire takes back the turns of those who don't use them.
func (t *Turns[K]) Expire(now time.Time) {
	for _, a := range t.askers {
		if a.turns > 0 && now.Sub(a.given) > turnKept {
			t.take(a, a.turns)
			a.late = true
			a.place = 0
		}
	}
}

// queue gives a peer the last place in its line, unless it has all turns that it
// may.
func (t *Turns[K]) queue(who K, a *asker) {
	a.place = 0
	if a.wish > Nothing && !a.late && (a.far || a.wish == Waiting || a.turns*a.size+a.queued < slotsEach*a.size) {
		t.came++
		a.place = t.came
		lines := &t.lines[a.wish]
		if a.last {
			lines = &t.lines[Nothing]
		}
		line := &lines.near
		if a.far {
			line = &lines.far
		}
		*line = append(t.voidless(*line), place[K]{who, a.place})
	}
}

// voidless drops void places from a line that has many of them: a peer may change
// its wish as often as it likes.
func (t *Turns[K]) voidless(line []place[K]) []place[K] {
	if len(line) < 2*len(t.askers)+16 {
		return line
	}
	return slices.DeleteFunc(line, func(p place[K]) bool { return t.askers[p.who] == nil || t.askers[p.who].place != p.at })
}

// take takes turns from a peer.
func (t *Turns[K]) take(a *asker, n int) {
	n = min(n, a.turns)
	a.turns -= n
	t.load -= n * a.size
}

// unload forgets what was asked for.
func (t *Turns[K]) unload(a *asker, bytes int) {
	bytes = min(bytes, a.queued)
	a.queued -= bytes
	if !a.stuck {
		t.load -= bytes
	}
}
