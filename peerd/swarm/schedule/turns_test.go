package schedule

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const size = 64 << 10 // of a piece

// given takes all turns that there are to give.
func given(t *Turns[Peer], now time.Time) (all []Peer) {
	for who, ok := t.Next(now); ok; who, ok = t.Next(now) {
		all = append(all, who)
	}
	return all
}

// meeting is Turns of three peers who want nothing yet.
func meeting() *Turns[Peer] {
	t := &Turns[Peer]{}
	for _, who := range []Peer{seeder, alice, bob} {
		t.Join(who, size, false)
	}
	return t
}

func TestTurnsGoAround(t *testing.T) {
	turns := meeting()
	turns.Wish(alice, Profile)
	turns.Wish(bob, Profile)
	turns.Wish(seeder, Profile)
	if got, want := given(turns, begin), []Peer{alice, bob, seeder, alice, bob, seeder}; !slices.Equal(got, want) {
		t.Errorf("turns go to %v; want %v", got, want)
	}
	turns.Asked(alice, 1, size)
	if got := given(turns, begin); got != nil {
		t.Errorf("turns go to %v before anything was sent", got)
	}
	turns.Sent(alice, size)
	if got, want := given(turns, begin), []Peer{alice}; !slices.Equal(got, want) {
		t.Errorf("turns go to %v; want %v", got, want)
	}
}

func TestTurnsGoToTheUrgent(t *testing.T) {
	turns := meeting()
	turns.Wish(alice, Rest)
	turns.Wish(bob, Profile)
	turns.Wish(seeder, Waiting)
	// What a read waits for is one piece; then it's as urgent as the window.
	if got, want := given(turns, begin), []Peer{seeder, bob, seeder, bob, alice, alice}; !slices.Equal(got, want) {
		t.Errorf("turns go to %v; want %v", got, want)
	}
}

// What a far peer gets, its whole rack will have from it; but a read comes first.
func TestTurnsGoToOtherRacksFirst(t *testing.T) {
	const carol = bob + 1
	turns := meeting()
	turns.Join(carol, size, true)
	turns.Wish(alice, Profile)
	turns.Wish(carol, Profile)
	turns.Wish(bob, Waiting)
	if got, want := given(turns, begin), []Peer{bob, carol, carol, carol, carol, carol}; !slices.Equal(got, want) {
		t.Errorf("turns go to %v; want %v", got, want)
	}
}

// However urgent it is to a machine that nobody believes, it waits for all others;
// and it is believed again.
func TestTurnsGoToSuspectsLast(t *testing.T) {
	turns := meeting()
	turns.Wish(alice, Waiting)
	turns.Wish(bob, Rest)
	turns.Last(func(who Peer) bool { return who == alice })
	if got, want := given(turns, begin), []Peer{bob, bob, alice, alice}; !slices.Equal(got, want) {
		t.Errorf("turns go to %v; want %v", got, want)
	}
	turns.Pass(alice)
	turns.Wish(alice, Profile)
	turns.Last(func(Peer) bool { return false })
	turns.Pass(bob)
	turns.Wish(bob, Rest)
	if got, want := given(turns, begin), []Peer{alice, bob}; !slices.Equal(got, want) {
		t.Errorf("then turns go to %v; want %v", got, want)
	}
}

func TestTurnsComeBack(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*Turns[Peer])
		at      time.Duration
		want    []Peer
	}{
		"whoever passes gets no other":          {func(t *Turns[Peer]) { t.Pass(alice); t.Pass(alice) }, 0, nil},
		"until it wishes for one":               {func(t *Turns[Peer]) { t.Pass(alice); t.Wish(alice, Waiting) }, 0, []Peer{alice}},
		"whoever leaves":                        {func(t *Turns[Peer]) { t.Leave(alice) }, 0, nil},
		"whoever is silent for long":            {func(t *Turns[Peer]) {}, 2 * turnKept, nil}, // so is bob
		"whoever was silent and asks after all": {func(t *Turns[Peer]) { t.Expire(begin.Add(2 * turnKept)); t.Asked(alice, 1, size) }, 0, []Peer{alice}},
		"whoever was silent and wishes again":   {func(t *Turns[Peer]) { t.Expire(begin.Add(2 * turnKept)); t.Wish(alice, Profile) }, 0, []Peer{alice, alice}},
		"whoever has what it asked for":         {func(t *Turns[Peer]) { t.Asked(alice, 1, size); t.Sent(alice, size) }, 0, []Peer{alice}},
		"whoever is refused":                    {func(t *Turns[Peer]) { t.Refused(alice, 1); t.Refused(alice, 1) }, 0, []Peer{alice}},
		"whoever is refused and asks again":     {func(t *Turns[Peer]) { t.Refused(alice, 1); t.Asked(alice, 1, size); t.Sent(alice, size) }, 0, []Peer{alice, alice}},
		"a read that waits":                     {func(t *Turns[Peer]) { t.Wish(alice, Waiting) }, 0, []Peer{alice}},
	} {
		turns := meeting()
		turns.Wish(alice, Profile)
		turns.Wish(bob, Profile)
		given(turns, begin)
		c.happens(turns)
		turns.Expire(begin.Add(c.at))
		if got := given(turns, begin.Add(c.at)); !slices.Equal(got, c.want) {
			t.Errorf("%s: turns go to %v; want %v", name, got, c.want)
		}
	}
}

// Who changes its wish without end takes no memory.
func TestWishesTakeNoMemory(t *testing.T) {
	turns := meeting()
	for range 1000 {
		turns.Wish(alice, Rest)
		turns.Wish(alice, Profile)
	}
	if n := len(turns.lines[Rest].near) + len(turns.lines[Profile].near); n > 100 {
		t.Errorf("%d places in line for three peers", n)
	}
}

// Whatever happens, in whatever order, what was given comes back.
func TestTurnsAreNotLost(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	turns := meeting()
	now := begin
	for range 100_000 {
		now = now.Add(time.Millisecond)
		who := Peer(random.IntN(4)) // one of them is unknown
		switch random.IntN(10) {
		case 0:
			turns.Wish(who, Urgency(random.IntN(5)))
		case 1:
			turns.Pass(who)
		case 2:
			turns.Asked(who, random.IntN(10), random.IntN(size))
		case 3, 4:
			turns.Sent(who, random.IntN(size))
		case 5:
			turns.Stuck(who)
		case 6:
			turns.Expire(now)
		case 7:
			turns.Next(now)
		case 8:
			turns.Refused(who, random.IntN(10))
		case 9:
			turns.Last(func(one Peer) bool { return one == who })
		}
		load := 0
		for _, a := range turns.askers {
			load += a.turns * a.size
			if !a.stuck {
				load += a.queued
			}
		}
		if turns.load != load {
			t.Fatalf("load is %d; want %d", turns.load, load)
		}
	}
	for _, who := range []Peer{seeder, alice, bob} {
		turns.Leave(who)
	}
	if turns.load != 0 {
		t.Errorf("load of nobody is %d", turns.load)
	}
}
