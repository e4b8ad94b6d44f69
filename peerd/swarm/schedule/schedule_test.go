package schedule

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

const (
	seeder Peer = iota
	alice
	bob
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// everyone has room in the request queue.
func everyone(Peer) bool { return true }

// only these peers have room.
func only(peers ...Peer) func(Peer) bool {
	return func(id Peer) bool {
		for _, p := range peers {
			if p == id {
				return true
			}
		}
		return false
	}
}

// all asks until nothing is left to do, at most n times.
func all(s *Schedule, now time.Time, ready func(Peer) bool, n int) []Fetch {
	var got []Fetch
	for range n {
		f, ok := s.Next(now, ready)
		if !ok {
			break
		}
		got = append(got, f)
	}
	return got
}

// known is a schedule of ten pieces with the seeder, alice, who has pieces 0, 1
// and 2, and bob, who has piece 2.
func known(profile ...int) *Schedule {
	s := New(10, profile, 1)
	s.Join(seeder, true)
	s.Join(alice, false)
	s.Join(bob, false)
	for _, piece := range []int{0, 1, 2} {
		s.Offers(alice, piece)
	}
	s.Offers(bob, 2)
	return s
}

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		state func() *Schedule
		at    time.Duration
		ready func(Peer) bool
		want  Fetch
		none  bool
	}{
		"demand comes first, and from a machine": {
			state: func() *Schedule { s := known(7, 8); s.Demand([]int{1}, begin); return s },
			want:  Fetch{1, alice, Waiting},
		},
		"demand that no machine has comes from the seeder": {
			state: func() *Schedule { s := known(); s.Demand([]int{5}, begin); return s },
			want:  Fetch{5, seeder, Waiting},
		},
		"demand waits for a turn": {
			state: func() *Schedule { s := known(); s.Demand([]int{1}, begin); return s },
			ready: only(bob),
			none:  true,
		},
		"until that is overdue": {
			state: func() *Schedule { s := known(); s.Demand([]int{1}, begin); return s },
			ready: only(bob),
			at:    demandDeadline,
			want:  Fetch{1, alice, Waiting},
		},
		"demand that a machine is fetching is left to it": {
			state: func() *Schedule {
				s := known()
				s.Coming(bob, 5, begin)
				s.Demand([]int{5}, begin)
				return s
			},
			none: true,
		},
		"until that machine is gone": {
			state: func() *Schedule {
				s := known()
				s.Coming(bob, 5, begin)
				s.Coming(seeder, 5, begin) // tells the same
				s.Leave(bob)
				s.Demand([]int{5}, begin)
				return s
			},
			want: Fetch{5, seeder, Waiting},
		},
		"until it is overdue": {
			state: func() *Schedule {
				s := known()
				s.Coming(bob, 5, begin)
				s.Demand([]int{5}, begin)
				return s
			},
			at:   demandDeadline,
			want: Fetch{5, seeder, Waiting},
		},
		"what the seeder refuses is left to machines": {
			state: func() *Schedule {
				s := known()
				s.Demand([]int{5}, begin)
				s.Next(begin, everyone)
				s.Refused(seeder, 5, begin)
				return s
			},
			at:   demandDeadline / 2,
			none: true,
		},
		"and asked for again when it is overdue": {
			state: func() *Schedule {
				s := known()
				s.Demand([]int{5}, begin)
				s.Next(begin, everyone)
				s.Refused(seeder, 5, begin)
				return s
			},
			at:   demandDeadline,
			want: Fetch{5, seeder, Waiting},
		},
		"overdue demand gets a second source": {
			state: func() *Schedule {
				s := known()
				s.Demand([]int{1}, begin)
				s.Next(begin, everyone)
				return s
			},
			at:   demandDeadline,
			want: Fetch{1, seeder, Waiting},
		},
		"a window piece that nobody has comes from the seeder before the others": {
			state: func() *Schedule { return known(0, 2, 8) },
			want:  Fetch{8, seeder, Profile},
		},
		"a window piece that a machine has is left to machines": {
			state: func() *Schedule {
				s := known(0, 1, 2)
				for piece := 3; piece < 10; piece++ {
					s.Have(piece)
				}
				return s
			},
			ready: only(seeder),
			none:  true,
		},
		"the rarer piece of the window first": {
			state: func() *Schedule {
				s := known(2, 0)
				s.SetRules(Rules{Window: 2, Spread: 100, Demand: 1})
				return s
			},
			want: Fetch{0, alice, Profile},
		},
		"nothing of the rest while the machine boots": {
			state: func() *Schedule { return known() },
			none:  true,
		},
		"in full, only room limits the rest": {
			state: func() *Schedule { s := known(8); s.SetFull(true); s.Next(begin, everyone); return s },
			ready: only(bob),
			want:  Fetch{2, bob, Rest},
		},
		"not even in full while a read waits": {
			state: func() *Schedule {
				s := known()
				s.SetFull(true)
				s.Demand([]int{1}, begin)
				s.Next(begin, everyone)
				return s
			},
			none: true,
		},
		"what came damaged isn't asked for again at once": {
			state: func() *Schedule {
				s := known()
				s.Demand([]int{1}, begin)
				s.Next(begin, everyone)
				s.Failed(1, begin)
				return s
			},
			none: true,
		},
		"but later": {
			state: func() *Schedule {
				s := known()
				s.Demand([]int{1}, begin)
				s.Next(begin, everyone)
				s.Failed(1, begin)
				return s
			},
			at:   failedFor,
			want: Fetch{1, alice, Waiting},
		},
		"what a peer that left was asked for is asked of another": {
			state: func() *Schedule {
				s := known()
				s.Demand([]int{2}, begin)
				f, _ := s.Next(begin, only(alice))
				s.Leave(f.Peer)
				return s
			},
			want: Fetch{2, bob, Waiting},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ready := c.ready
			if ready == nil {
				ready = everyone
			}
			s := c.state()
			if got, ok := s.Next(begin.Add(c.at), ready); ok == c.none || got != c.want {
				t.Errorf("Next = %+v, %t; want %+v, %t", got, ok, c.want, !c.none)
			}
		})
	}
}

// Where pieces take long, it takes longer until a read is overdue, within limits.
func TestPatience(t *testing.T) {
	for _, c := range []struct{ takes, deadline time.Duration }{
		{5 * time.Millisecond, demandDeadline},
		{500 * time.Millisecond, believedTakes * 500 * time.Millisecond},
		{time.Minute, lastBelieved},
	} {
		s := New(100, nil, 1)
		s.Join(alice, false)
		now := begin
		for piece := range 90 {
			s.Offers(alice, piece)
			s.Demand([]int{piece}, now)
			s.Next(now, everyone)
			now = now.Add(c.takes)
			s.Next(now, only())
			s.Have(piece)
		}
		if got := s.deadline(); got < c.deadline*99/100 || got > c.deadline*101/100 {
			t.Errorf("pieces take %v, and a read is overdue after %v; want %v", c.takes, got, c.deadline)
		}
	}
}

// A machine that has the only copy of a piece says nothing more, and leaves: the
// others get the piece from the seeder.
func TestOnlyCopyIsGone(t *testing.T) {
	s := known()
	s.SetFull(true)
	for piece := range 10 {
		if piece != 1 {
			s.Have(piece)
		}
	}
	asked := func() (peers []Peer) {
		s.Wishes(begin, func(id Peer, _ Urgency) { peers = append(peers, id) })
		return peers
	}
	if got := asked(); !slices.Equal(got, []Peer{alice}) {
		t.Errorf("wishes from %v; want alice, who has the piece", got)
	}
	s.Leave(alice)
	if got := asked(); !slices.Equal(got, []Peer{seeder}) {
		t.Errorf("without alice wishes from %v; want the seeder", got)
	}
	if f, ok := s.Next(begin, everyone); !ok || f.Piece != 1 || f.Peer != seeder {
		t.Errorf("Next = %v, %v; want piece 1 from the seeder", f, ok)
	}
}

func TestNothingTwice(t *testing.T) {
	s := known()
	s.SetFull(true)
	seen := make(map[int]bool)
	for range 2 { // not all at once
		for _, f := range all(s, begin, everyone, 100) {
			if seen[f.Piece] {
				t.Errorf("piece %d is fetched twice", f.Piece)
			}
			seen[f.Piece] = true
		}
		for piece := range seen {
			s.Have(piece)
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d of 10 pieces are fetched", len(seen))
	}
	if _, ok := s.Next(begin, everyone); ok || !s.Complete() {
		t.Error("a complete schedule goes on fetching")
	}
}

// TestElsewhereIsLeftAlone: by demand, by the window and by the rest, until it is
// taken back.
func TestElsewhereIsLeftAlone(t *testing.T) {
	s := New(9, []int{4}, 1)
	s.Join(seeder, true)
	s.SetFull(true)
	s.Elsewhere([]int{3, 4, 5})
	s.Demand([]int{3}, begin)
	for _, f := range all(s, begin, everyone, 100) {
		t.Errorf("%+v is asked for while a read waits for what comes elsewhere", f)
	}
	s.Demand(nil, begin)
	asked := all(s, begin, everyone, 100)
	if len(asked) != 6 || s.Asked(3) != nil || s.Asked(4) != nil || s.Asked(5) != nil {
		t.Errorf("%d pieces are asked for; want 6, none of them of those that come elsewhere", len(asked))
	}
	for _, f := range asked {
		s.Have(f.Piece)
	}
	s.Elsewhere(nil)
	if got := len(all(s, begin, everyone, 100)); got != 3 {
		t.Errorf("%d more pieces are asked for; want 3", got)
	}
}

// A turn for which there is no use is kept if there will be one soon: when one of
// the pieces under way has come.
func TestTurnsAreKeptWhileBusy(t *testing.T) {
	s := New(10*maxFetching, nil, 1)
	s.Join(seeder, true)
	s.SetFull(true)
	if got := s.Keep(); got != 0 {
		t.Errorf("%d turns are kept while nothing is under way", got)
	}
	asked := all(s, begin, everyone, 100)
	if got := s.Keep(); got != maxKept {
		t.Errorf("%d turns are kept while %d pieces are under way; want %d", got, len(asked), maxKept)
	}
	s.Demand([]int{asked[1].Piece}, begin)
	if got := s.Keep(); got != 0 {
		t.Errorf("%d turns are kept while a read waits", got)
	}
	s.Demand(nil, begin)
	s.Have(asked[0].Piece)
	if got := s.Keep(); got != 0 {
		t.Errorf("%d turns are kept when one more may be asked for", got)
	}
}

func TestLimitOfPiecesUnderWay(t *testing.T) {
	s := New(10*maxFetching, nil, 1)
	s.Join(seeder, true)
	s.SetFull(true)
	if got := len(all(s, begin, everyone, 1000)); got != maxFetching {
		t.Errorf("%d pieces are under way; want %d", got, maxFetching)
	}
	wanted := slices.IndexFunc(s.sources, func(asked []Peer) bool { return len(asked) == 0 })
	s.Demand([]int{wanted}, begin)
	if f, ok := s.Next(begin, everyone); !ok || f.Piece != wanted {
		t.Errorf("Next = %v, %t; the limit holds back demand", f, ok)
	}
}

// A piece whose giver is gone doesn't hold back others, nor does one from afar.
func TestPiecesThatDoNotCount(t *testing.T) {
	s := New(10*maxFetching, nil, 1)
	s.Join(seeder, true)
	s.SetFull(true)
	all(s, begin, everyone, 1000)
	s.Leave(seeder)
	s.Join(seeder, true)
	if got := len(all(s, begin, everyone, 1000)); got != maxFetching {
		t.Errorf("%d more pieces are under way when the first don't come; want %d", got, maxFetching)
	}

	s = New(10*maxFetching, nil, 1)
	s.Join(alice, false)
	s.Far(alice)
	for piece := range 10 * maxFetching {
		s.Offers(alice, piece)
	}
	s.SetFull(true)
	if got := len(all(s, begin, everyone, 1000)); got != maxFar {
		t.Errorf("%d pieces are under way from afar; want %d", got, maxFar)
	}
}

func TestSameSeedSameDecisions(t *testing.T) {
	decide := func(seed uint64) []Fetch {
		s := New(100, nil, seed)
		s.Join(seeder, true)
		s.SetFull(true)
		return all(s, begin, everyone, 10)
	}
	if a, b := decide(1), decide(1); !reflect.DeepEqual(a, b) {
		t.Errorf("seed 1 gives %v and %v", a, b)
	}
	if a, b := decide(1), decide(2); reflect.DeepEqual(a, b) {
		t.Errorf("seeds 1 and 2 both give %v", a)
	}
}

func TestForeignPiecesAreIgnored(t *testing.T) {
	s := known()
	s.SetFull(true)
	for _, piece := range []int{-1, 10, 1 << 30} {
		s.Offers(alice, piece)
		s.Coming(bob, piece, begin)
		s.Demand([]int{piece}, begin)
		s.Have(piece)
	}
	if f, ok := s.Next(begin, everyone); !ok || f.Piece < 0 || f.Piece > 9 {
		t.Errorf("Next = %v, %t", f, ok)
	}
}

// In a rack of its own is bob; alice is far away.
func TestFar(t *testing.T) {
	far := func(profile ...int) *Schedule { s := known(profile...); s.Far(alice); return s }
	for name, c := range map[string]struct {
		state func() *Schedule
		want  Fetch
		none  bool
	}{
		"what the rack has comes from the rack":           {func() *Schedule { return far(2) }, Fetch{2, bob, Profile}, false},
		"what it lacks comes from far, not the seeder":    {func() *Schedule { return far(1) }, Fetch{1, alice, Profile}, false},
		"what no machine has comes from the seeder":       {func() *Schedule { return far(5) }, Fetch{5, seeder, Profile}, false},
		"what the rack lacks comes before what it has":    {func() *Schedule { return far(2, 1) }, Fetch{1, alice, Profile}, false},
		"what a machine of the rack is fetching is left":  {func() *Schedule { s := far(1); s.Coming(bob, 1, begin); return s }, Fetch{}, true},
		"what a machine far away is fetching is left too": {func() *Schedule { s := far(5); s.Coming(alice, 5, begin); return s }, Fetch{}, true},
		"a read takes it from the rack": {func() *Schedule { s := far(); s.Demand([]int{2}, begin); return s },
			Fetch{2, bob, Waiting}, false},
		"or from far": {func() *Schedule { s := far(); s.Demand([]int{1}, begin); return s }, Fetch{1, alice, Waiting}, false},
	} {
		s := c.state()
		if f, ok := s.Next(begin, everyone); ok == c.none || f != c.want {
			t.Errorf("%s: Next = %+v, %t; want %+v, %t", name, f, ok, c.want, !c.none)
		}
	}
}

func TestWishes(t *testing.T) {
	type wish struct {
		Peer
		Urgency
	}
	wishes := func(s *Schedule) (all []wish) {
		s.Wishes(begin, func(id Peer, u Urgency) { all = append(all, wish{id, u}) })
		return all
	}
	for name, c := range map[string]struct {
		state func() *Schedule
		want  []wish
	}{
		"who has a piece of the window":  {func() *Schedule { return known(0) }, []wish{{alice, Profile}}},
		"the seeder for what nobody has": {func() *Schedule { return known(9, 2) }, []wish{{seeder, Profile}, {alice, Profile}, {bob, Profile}}},
		"nobody for what is under way":   {func() *Schedule { s := known(2); s.Next(begin, everyone); return s }, nil},
		"who has what a read waits for": {func() *Schedule { s := known(0); s.Demand([]int{2}, begin); return s },
			[]wish{{alice, Waiting}, {bob, Waiting}}},
		"nobody for the rest while the machine boots": {func() *Schedule { return known() }, nil},
		"everybody for the rest, in full": {func() *Schedule { s := known(); s.SetFull(true); return s },
			[]wish{{alice, Rest}, {bob, Rest}, {seeder, Rest}}},
	} {
		if got := wishes(c.state()); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}
