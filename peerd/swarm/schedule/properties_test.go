package schedule

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A machine among others, to which anything may happen in any order.
type anything struct {
	*Schedule
	t      *testing.T
	random *rand.Rand
	now    time.Time
	told   map[Peer]Urgency // wishes, as peers know them
	has    map[Peer][]bool
	asked  map[int]int // pieces under way, and of how many peers
	demand []int

	lookedFor time.Duration // what believed was when it last happened
}

const (
	someone = 12 // peers; the first is the seeder
	plenty  = 80 // pieces
)

func newAnything(t *testing.T, seed uint64) *anything {
	random := rand.New(rand.NewPCG(seed, 0))
	a := &anything{
		Schedule: New(plenty, random.Perm(plenty)[:plenty/2], seed), t: t, random: random, now: begin,
		told: make(map[Peer]Urgency), has: make(map[Peer][]bool), asked: make(map[int]int),
	}
	for id := range Peer(someone) {
		a.join(id)
	}
	return a
}

func (a *anything) join(id Peer) {
	a.Join(id, id == seeder)
	a.has[id] = make([]bool, plenty)
	if id%3 == 1 {
		a.Far(id)
	}
}

// happen lets one thing happen.
func (a *anything) happen() {
	id, piece := Peer(a.random.IntN(someone)), a.random.IntN(plenty)
	switch a.random.IntN(12) {
	case 0, 1, 2:
		if id != seeder {
			a.Offers(id, piece)
			a.has[id][piece] = true
		}
	case 3, 4:
		a.Coming(id, piece, a.now)
	case 5:
		a.demand = a.demand[:0]
		for range a.random.IntN(3) {
			a.demand = append(a.demand, a.random.IntN(plenty))
		}
		a.Demand(a.demand, a.now)
	case 6:
		a.SetFull(a.random.IntN(2) == 0)
	case 7:
		a.now = a.now.Add(time.Duration(a.random.IntN(3)) * time.Second)
	case 8:
		if a.random.IntN(4) == 0 {
			a.Leave(id)
			clear(a.asked)
			for piece := range plenty {
				if n := len(a.Asked(piece)); n > 0 {
					a.asked[piece] = n
				}
			}
			delete(a.told, id)
			a.join(id)
		}
	case 9:
		for piece := range a.asked {
			if a.random.IntN(4) == 0 && !a.have[piece] {
				a.Failed(piece, a.now)
			} else {
				a.Have(piece)
			}
			delete(a.asked, piece)
			break
		}
	default:
		a.turn(id)
	}
	// Each piece that comes changes for how long another is believed to come; what
	// that alone makes possible is found by the next look at everything.
	if believed := a.believed(); believed != a.lookedFor {
		a.lookedFor, a.looked = believed, time.Time{}
	}
	a.Wishes(a.now, func(id Peer, u Urgency) { a.told[id] = max(a.told[id], u) })
}

// turn uses a turn that a peer gives.
func (a *anything) turn(id Peer) {
	f, ok := a.Next(a.now, only(id))
	if !ok {
		a.told[id] = Nothing
		return
	}
	a.asked[f.Piece]++
	switch {
	case a.have[f.Piece]:
		a.t.Fatalf("%+v is asked for though it is there", f)
	case f.Peer != seeder && !a.has[f.Peer][f.Piece]:
		a.t.Fatalf("%+v is asked of who hasn't it", f)
	case a.asked[f.Piece] > 2 || a.asked[f.Piece] == 2 && f.Urgency != Waiting:
		a.t.Fatalf("%+v is asked of %d peers", f, a.asked[f.Piece])
	}
	if f.Peer == id {
		a.told[id] = min(a.told[id], max(f.Urgency, Nothing), Profile)
	}
}

// Whatever happens, no piece is wanted twice but by a read that is overdue; and a
// peer that has something to fetch knows that it is wanted, and how much.
func TestWhateverHappens(t *testing.T) {
	for seed := range uint64(20) {
		a := newAnything(t, seed)
		for step := range 3000 {
			a.happen()
			a.wishes(a.now, func(id Peer, u Urgency) {
				if a.told[id] < u {
					t.Fatalf("seed %d, step %d: peer %d has something of urgency %d; it knows of %d", seed, step, id, u, a.told[id])
				}
			})
			if a.Complete() {
				break
			}
		}
	}
}

// Whatever has happened, with a seeder that gives turns all pieces come in the
// end, and those first for which a read waits.
func TestNothingStarves(t *testing.T) {
	for seed := range uint64(20) {
		a := newAnything(t, seed)
		for range 200 {
			a.happen()
		}
		a.now = a.now.Add(time.Minute) // what others were fetching didn't come
		for piece := range plenty {
			if len(a.Asked(piece)) > 0 {
				a.Failed(piece, a.now)
			}
		}
		a.now = a.now.Add(failedFor)
		a.SetFull(true)
		missing := -1
		for piece := range plenty {
			if !a.have[piece] {
				missing = piece
			}
		}
		a.Demand([]int{missing}, a.now)
		for first := true; !a.Complete(); first = false {
			f, ok := a.Next(a.now, everyone)
			if !ok || first && f.Piece != missing {
				t.Fatalf("seed %d: Next = %+v, %t; want a piece, and first %d", seed, f, ok, missing)
			}
			a.Have(f.Piece)
		}
	}
}
