// Package schedule decides which piece of an image to fetch next, and from whom.
//
// A Schedule is fed with what is known (Join, Offers, Coming, Elsewhere, Have,
// Demand) and asked for one decision at a time (Next). It does no I/O, has no
// goroutine and no clock; with the same seed and the same calls it always decides
// alike. So the same code runs in peerd (package swarm) and under virtual time in
// tests and in the simulator (bootserver/bench/sim).
//
// Missing pieces form three sets: demand (a read waits), profile (the boot will
// read them) and rest. Demand comes first, but it doesn't stop the profile: if all
// machines fetched only what they wait for, they would all want the same piece and
// its holder's link would be the limit. In the profile what is early comes first,
// and what few have: machines need different pieces to exchange. How far ahead a
// machine fetches has no limit of its own: where nobody can give it what comes
// next, its link is better used for something later than for nothing. Of the rest
// the rarest comes first.
//
// Who may ask whom, and when, is decided by those who are asked (Turns).
//
// A piece that a machine has, or will have in a moment, is left to machines. The
// seeder is asked for what nobody else has, and for demand that is overdue. So
// it sends little more than one copy, however many machines boot. In the same
// way what a machine of the rack has, or will have, is left to the rack, and
// crosses into it about once.
package schedule

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// spread is how many places of the profile a piece comes later because all
	// peers have it: what few have must be spread, so that there is something to
	// exchange, but what is read next must come in time. Sixteen machines needed
	// 1.54 of the bound for a boot if the rarest came first whatever its place,
	// 1.40 with 12 and with 24, and 1.47 with 48.
	spread = 16

	// scatter is how many places of the profile a piece may come later than its
	// turn, so that machines that boot in step begin with different ones. If the
	// order is lost among 32, reads wait for the oldest of them: eight machines
	// needed 1.6 of the bound for a boot, and 1.4 with this.
	scatter = 8

	// maxFetching bounds the pieces under way but for demand. They share one link:
	// with ten, each takes ten times as long as one alone, and so do the words
	// about turns, which queue in the switch behind them. Sixteen machines needed
	// 1.38 of the bound for a boot with 48, 1.36 with 8, and 1.35 with 6 and 5.
	maxFetching = 6

	// maxKept bounds the turns that are kept until one of those has come. A turn that
	// goes back leaves its giver's link idle for three words. Sixteen simulated
	// machines fetched an image in 1.12 of the bound without this, 1.11 with 1, and
	// 1.09 with 2 and 4; thirty-two in 1.15, 1.13, 1.13 and 1.17. While a read waits
	// they had better go to another: thirty-two machines needed 1.37 to 1.45 of the
	// bound for a boot where all were kept, and 1.38 to 1.41 with this.
	maxKept = 2

	// What comes from another rack is not one of those, for there the rack's link is
	// the limit. maxFar bounds them all, and so the memory for their buffers. In the
	// simulator four racks needed 1.4 of the bound for a boot, and 1.9 to 4.7 if
	// pieces from other racks counted.
	maxFar = 48

	// demandDeadline is how long demand is left to machines, and to the peer that
	// was asked, at least.
	demandDeadline = time.Second

	// That a machine is about to have a piece is believed for so many times as long
	// as a piece usually takes. It may have died: of 128 machines in the simulator,
	// of which a tenth dies, the others needed 3.6 of the bound where it was believed
	// for five seconds, and 1.25 with this. For as long no read is overdue: on links of
	// 6 Mbit/s all reads would be after a second, and all machines ask the seeder for
	// the same piece. Thirty-two of them needed 1.9 of the bound for a boot and 1.8
	// copies with a second, 1.5 and 1.4 with four times as long as reads had waited,
	// and 1.39 and 1.25 with this.
	believedTakes = 8
	firstBelieved = 100 * time.Millisecond
	lastBelieved  = 5 * time.Second

	// A peer that owes us an answer may say nothing for so many times as long as a
	// piece usually takes; then others are asked for what it was giving. Of eight
	// machines that boot over full links none is silent for more than 150 ms, and TCP
	// needs 200 until it sends what was lost anew.
	patienceTakes = 3
	leastPatience = 300 * time.Millisecond

	// lookEvery is how often Wishes looks for what time alone has changed.
	lookEvery = 50 * time.Millisecond

	// failedFor is how long a piece that came damaged is not fetched again. It
	// keeps a source that is broken for good from being asked in a tight loop.
	failedFor = time.Second
)

// A Peer is one connection, numbered by the caller.
type Peer int

// A Fetch is a decision: ask Peer for Piece.
type Fetch struct {
	Piece   int
	Peer    Peer
	Urgency Urgency
}

// Schedule is the state from which decisions are made.
type Schedule struct {
	order     []int             // the rank of each piece among equals, shuffled by the seed
	have      []bool            // pieces that rest in the store
	missing   int               // how many don't
	sources   [][]Peer          // who has been asked for each piece
	damaged   map[int]time.Time // when a piece last came damaged
	coming    []promise         // who is fetching the piece
	elsewhere []int             // pieces that come by another way

	profile []int  // pieces that the boot will read
	there   int    // about so many of them are in the store
	booting []bool // whether a piece is one of those
	peers   peers

	fetching []int         // pieces under way
	asked    []time.Time   // when they were asked for, by piece
	takes    time.Duration // that a piece is usually under way
	now      time.Time     // when something was last decided
	busy     bool          // so many were under way then that no more may be

	demand []waiting
	full   bool
	rules  Rules
	random *rand.Rand
	raised bool // the next pick looks at demand first

	news   []offer   // since Wishes was asked
	stale  bool      // more has changed since
	looked time.Time // when Wishes last looked at everything
}

// An offer is that a peer can give a piece.
type offer struct {
	peer  Peer
	piece int
}

// A promise is a peer's word that a machine, most often itself, is fetching a piece
// from the seeder or from another rack.
type promise struct {
	by Peer
	at time.Time
}

type waiting struct {
	piece int
	since time.Time
}

// Rules are what a schedule goes by. Those that a machine goes by are Default;
// the simulator tries others.
type Rules struct {
	Window int     // so many pieces of the profile are fetched ahead; 0: as many as there are
	Spread int     // places of the profile that a piece which all have comes later
	Demand float64 // part of the picks in which demand comes before the profile; 1: always
	Plain  bool    // the seeder is asked like any machine
}

// Default is what machines go by.
var Default = Rules{Spread: spread, Demand: 1}

// New makes the schedule of an image of so many pieces, of which none is there.
// The profile lists pieces in the order in which a boot reads them.
func New(pieces int, profile []int, seed uint64) *Schedule {
	booting := make([]bool, pieces)
	for _, piece := range profile {
		booting[piece] = true
	}
	return &Schedule{
		rules:   Default,
		raised:  true,
		random:  rand.New(rand.NewPCG(seed, 1)),
		order:   rand.New(rand.NewPCG(seed, 0)).Perm(pieces),
		have:    make([]bool, pieces),
		missing: pieces,
		sources: make([][]Peer, pieces),
		asked:   make([]time.Time, pieces),
		takes:   demandDeadline / believedTakes, // until it is known
		damaged: make(map[int]time.Time),
		coming:  make([]promise, pieces),
		profile: slices.Clone(profile),
		booting: booting,
		peers:   newPeers(pieces),
	}
}

// SetRules lets a schedule go by other rules, from its beginning on.
func (s *Schedule) SetRules(r Rules) { s.rules = r }

// Join adds a peer that has no pieces yet; the seeder has all from the start.
func (s *Schedule) Join(id Peer, seeder bool) {
	s.peers.add(id, seeder)
	s.stale = true
}

// Far tells that a machine stands in another rack. Until then it's in ours.
func (s *Schedule) Far(id Peer) {
	s.peers.isFar(id)
	s.stale = true
}

// Leave forgets a peer. What it was asked for may be asked of others.
func (s *Schedule) Leave(id Peer) {
	if !s.peers.remove(id) {
		return
	}
	s.stale = true
	for piece, sources := range s.sources {
		if i := slices.Index(sources, id); i >= 0 {
			s.sources[piece] = slices.Delete(sources, i, i+1)
			if len(s.sources[piece]) == 0 {
				s.end(piece)
			}
		}
	}
}

// Offers tells that a machine has a piece.
func (s *Schedule) Offers(id Peer, piece int) {
	if !s.valid(piece) {
		return
	}
	s.peers.offers(id, piece)
	if !s.have[piece] && len(s.sources[piece]) == 0 {
		s.news = append(s.news, offer{id, piece})
	}
}

// Coming tells that a machine is fetching a piece from the seeder or from another
// rack, or that the seeder gives it to one that we may not know. Of two promises the
// nearer counts: from a machine of our rack we'll have the piece first.
func (s *Schedule) Coming(by Peer, piece int, now time.Time) {
	p := s.peers.byID[by]
	if p == nil || !s.valid(piece) {
		return
	}
	if old := s.promises(piece, now); old == nil || p.reach() <= old.reach() {
		s.coming[piece] = promise{by, now}
	}
}

// promises tells whose promise of a piece is believed; nil: nobody's, or that
// of one who has left.
func (s *Schedule) promises(piece int, now time.Time) *peer {
	if p := s.coming[piece]; now.Sub(p.at) < s.believed() {
		return s.peers.byID[p.by]
	}
	return nil
}

// Elsewhere replaces the set of pieces that come by another way than from peers.
// They are not asked for as long as they are in it.
func (s *Schedule) Elsewhere(pieces []int) {
	s.elsewhere = pieces
	s.stale = true
}

// Refused tells that the seeder doesn't give a piece that it was asked for, as a
// machine is getting it.
func (s *Schedule) Refused(id Peer, piece int, now time.Time) {
	s.Coming(id, piece, now)
	if i := slices.Index(s.sources[piece], id); i >= 0 {
		s.sources[piece] = slices.Delete(s.sources[piece], i, i+1)
		s.peers.byID[id].asked--
		if len(s.sources[piece]) == 0 {
			s.end(piece)
		}
		s.renew(piece)
	}
}

// Have tells that a piece is in the store.
func (s *Schedule) Have(piece int) {
	if !s.valid(piece) || s.have[piece] {
		return
	}
	s.have[piece] = true
	s.missing--
	s.there++
	s.stale = s.stale || slices.ContainsFunc(s.demand, func(w waiting) bool { return w.piece == piece })
	delete(s.damaged, piece)
	if len(s.sources[piece]) > 0 {
		s.takes += (s.now.Sub(s.asked[piece]) - s.takes) / 8
	}
	s.stop(piece)
}

// Failed tells that a piece came damaged.
func (s *Schedule) Failed(piece int, now time.Time) {
	s.damaged[piece] = now
	s.stop(piece)
}

// Demand replaces the set of pieces that reads wait for.
func (s *Schedule) Demand(pieces []int, now time.Time) {
	old, waited := s.demand, s.waits()
	s.demand = nil
	for _, piece := range pieces {
		if !s.valid(piece) {
			continue
		}
		w := waiting{piece, now}
		if i := slices.IndexFunc(old, func(w waiting) bool { return w.piece == piece }); i >= 0 {
			w = old[i]
		}
		s.demand = append(s.demand, w)
	}
	s.stale = s.stale || waited && !s.waits()
}

// deadline is how long a read waits until it is overdue: until then a machine is
// believed to have the piece soon.
func (s *Schedule) deadline() time.Duration { return max(demandDeadline, s.believed()) }

// Waited tells for how long a read has been waiting.
func (s *Schedule) Waited(now time.Time) (longest time.Duration) {
	for _, w := range s.demand {
		if !s.have[w.piece] {
			longest = max(longest, now.Sub(w.since))
		}
	}
	return longest
}

// SetFull says whether to fetch the rest, too.
func (s *Schedule) SetFull(full bool) {
	s.full = full
	s.stale = true
}

// Complete tells whether no piece is missing.
func (s *Schedule) Complete() bool { return s.missing == 0 }

// Asked tells from whom a piece is being fetched.
func (s *Schedule) Asked(piece int) []Peer { return s.sources[piece] }

// Next decides what to ask for next, if anything. ready tells which peers may be
// asked, as it's our turn (Turns); only demand that is overdue is asked of others
// too. The caller does as decided and asks again until there is no more to do.
func (s *Schedule) Next(now time.Time, ready func(Peer) bool) (Fetch, bool) {
	s.now = now
	if s.Complete() {
		return Fetch{}, false
	}
	if f, ok := s.nextDemand(now, ready, s.raised); ok {
		return s.ask(f), true
	}
	if s.isBusy() {
		return Fetch{}, false
	}
	free, any := s.peers.free(ready)
	if !any {
		return Fetch{}, false
	}
	if f, ok := s.next(free, now); ok {
		f.Urgency = Profile
		return s.ask(f), true
	}
	if f, ok := s.nextDemand(now, ready, true); ok {
		return s.ask(f), true
	}
	if !s.mayRest() {
		return Fetch{}, false
	}
	f, ok := s.rarest(free, now)
	if ok {
		f.Urgency = Rest
		s.ask(f)
	}
	return f, ok
}

// Keep is how many turns to keep for which Next has no use now, but will have when
// a piece has come.
func (s *Schedule) Keep() int {
	if s.isBusy() && !s.waits() {
		return maxKept
	}
	return 0
}

// Wishes tells the peers that have something to fetch now, and how urgent it
// is, the most urgent first: now and then all of them, in between those that have
// something since it was last asked, or that a read waits for.
func (s *Schedule) Wishes(now time.Time, tell func(Peer, Urgency)) {
	s.now = now
	if busy := s.isBusy(); busy != s.busy {
		s.busy = busy
		s.stale = s.stale || !busy
	}
	if s.stale || now.Sub(s.looked) >= lookEvery {
		s.stale, s.looked = false, now
		s.wishes(now, tell)
	} else {
		s.useful(s.peers.none(), s.unmet(), now, func(p *peer) { tell(p.id, Waiting) })
		for _, o := range s.news {
			if u := s.urgency(o, now); u > Nothing {
				tell(o.peer, u)
			}
		}
	}
	s.news = s.news[:0]
}

// wishes looks at everything.
func (s *Schedule) wishes(now time.Time, yield func(Peer, Urgency)) {
	if s.Complete() {
		return
	}
	told := s.peers.none()
	add := func(u Urgency, pieces func(func(int) bool)) {
		s.useful(told, pieces, now, func(p *peer) { yield(p.id, u) })
	}
	add(Waiting, s.unmet())
	if s.busy {
		return
	}
	add(Profile, s.ahead())
	if s.mayRest() {
		add(Rest, s.rest())
	}
}

// useful yields the peers that can give one of the pieces and have not been told,
// and adds them to those.
func (s *Schedule) useful(told set, pieces func(func(int) bool), now time.Time, yield func(*peer)) {
	for piece := range pieces {
		if !s.may(piece, now) {
			continue
		}
		if s.peers.addHaving(told, piece, s.reach(piece, now), yield); s.peers.all(told) {
			return
		}
	}
}

// urgency is how much a piece is wanted from a peer, if no read waits for it.
func (s *Schedule) urgency(o offer, now time.Time) Urgency {
	p := s.peers.byID[o.peer]
	switch {
	case p == nil || s.have[o.piece] || len(s.sources[o.piece]) > 0 || !s.may(o.piece, now) || p.reach() > s.reach(o.piece, now):
		return Nothing
	case s.busy:
		return Nothing
	case s.booting[o.piece]:
		return Profile
	case s.mayRest():
		return Rest
	}
	return Nothing
}

// renew makes the next Wishes look at a piece.
func (s *Schedule) renew(piece int) {
	for p := range s.peers.having(piece, anywhere, nil) {
		s.news = append(s.news, offer{p.id, piece})
	}
}

// nextDemand finds a source for the read that has waited longest without one,
// and a second source for a read that is overdue.
func (s *Schedule) nextDemand(now time.Time, ready func(Peer) bool, raised bool) (Fetch, bool) {
	for _, w := range s.demand {
		if s.have[w.piece] || !s.may(w.piece, now) {
			continue
		}
		overdue := now.Sub(w.since) >= s.deadline()
		if !raised && !overdue {
			continue
		}
		if n := len(s.sources[w.piece]); n > 1 || n == 1 && !overdue {
			continue
		}
		var best *peer
		within := anywhere
		if !overdue {
			within = s.reach(w.piece, now)
		}
		for p := range s.peers.having(w.piece, within, nil) {
			if slices.Contains(s.sources[w.piece], p.id) || !overdue && !ready(p.id) {
				continue
			}
			if best == nil || p.less(best, ready) {
				best = p
			}
		}
		if best != nil {
			return Fetch{w.piece, best.id, Waiting}, true
		}
	}
	return Fetch{}, false
}

// less orders sources for demand: who has room, machines before the seeder, those
// of our rack before others, the shorter queue.
func (p *peer) less(q *peer, ready func(Peer) bool) bool {
	if rp, rq := ready(p.id), ready(q.id); rp != rq {
		return rp
	}
	if p.seeder != q.seeder {
		return q.seeder
	}
	if p.far != q.far {
		return q.far
	}
	return p.asked < q.asked
}

// next picks, of the profile's pieces that one of the free peers can give, the one
// that is early and rare.
func (s *Schedule) next(free set, now time.Time) (Fetch, bool) {
	place := 0
	return s.least(s.ahead(), free, now, func(piece int) (weight, atLeast int) {
		near, far := s.peers.holders(piece)
		place++
		n := len(s.peers.byID)
		return (place+s.order[piece]%scatter)*n + s.rules.Spread*(near+far), place * n
	})
}

// rarest picks, of all pieces that one of the free peers can give, the one that
// the fewest near machines have, and of those the one that the fewest far ones
// have. Equals come at random.
func (s *Schedule) rarest(free set, now time.Time) (Fetch, bool) {
	return s.least(s.rest(), free, now, func(piece int) (weight, atLeast int) {
		near, far := s.peers.holders(piece)
		return (near*(len(s.peers.byID)+1)+far)*len(s.have) + s.order[piece], 0
	})
}

// least picks the piece of least weight that one of the free peers can give.
// weight also tells how much this piece and those that follow weigh at least.
func (s *Schedule) least(pieces func(func(int) bool), free set, now time.Time, weight func(piece int) (weight, atLeast int)) (best Fetch, found bool) {
	var least int
	for piece := range pieces {
		w, atLeast := weight(piece)
		if found && least <= atLeast {
			break
		}
		if found && w >= least || !s.may(piece, now) {
			continue
		}
		if p := s.giver(piece, free, now); p != nil {
			best, least, found = Fetch{Piece: piece, Peer: p.id}, w, true
		}
	}
	return best, found
}

// may tells whether a piece may be asked for now.
func (s *Schedule) may(piece int, now time.Time) bool {
	return now.Sub(s.damaged[piece]) >= failedFor && !slices.Contains(s.elsewhere, piece)
}

// giver is the least busy free peer that shall give a piece.
func (s *Schedule) giver(piece int, free set, now time.Time) *peer {
	var best *peer
	for p := range s.peers.having(piece, s.reach(piece, now), free) {
		if best == nil || p.asked < best.asked {
			best = p
		}
	}
	return best
}

// reach tells how far away a piece may be fetched: no farther than from where a
// machine has it or is about to.
func (s *Schedule) reach(piece int, now time.Time) reach {
	near, far := s.peers.holders(piece)
	soon := s.promises(piece, now)
	switch {
	case s.rules.Plain:
		return anywhere
	case near > 0 || soon != nil && soon.reach() == inRack:
		return inRack
	case far > 0 || soon != nil:
		return machines
	}
	return anywhere
}

// Patience is for how long a peer that owes us an answer may say nothing, until it
// shall leave. It may join again.
func (s *Schedule) Patience() time.Duration { return max(leastPatience, patienceTakes*s.takes) }

// believed is how long a machine is believed to be about to have a piece.
func (s *Schedule) believed() time.Duration {
	return min(max(firstBelieved, believedTakes*s.takes), lastBelieved)
}

// ahead yields the pieces of the profile that are missing and not under way.
func (s *Schedule) ahead() func(func(int) bool) {
	if s.there > len(s.profile)/8 {
		s.there = 0
		s.profile = slices.DeleteFunc(s.profile, func(piece int) bool { return s.have[piece] })
	}
	return func(yield func(int) bool) {
		missing := 0
		for _, piece := range s.profile {
			if s.have[piece] {
				continue
			}
			if len(s.sources[piece]) == 0 && !yield(piece) {
				return
			}
			if missing++; missing == s.rules.Window {
				return
			}
		}
	}
}

// rest yields all pieces that are missing and not under way.
func (s *Schedule) rest() func(func(int) bool) {
	return func(yield func(int) bool) {
		for piece, have := range s.have {
			if !have && len(s.sources[piece]) == 0 && !yield(piece) {
				return
			}
		}
	}
}

// unmet yields the pieces that reads wait for and nobody was asked for.
func (s *Schedule) unmet() func(func(int) bool) {
	return func(yield func(int) bool) {
		for _, w := range s.demand {
			if !s.have[w.piece] && len(s.sources[w.piece]) == 0 && !yield(w.piece) {
				return
			}
		}
	}
}

// mayRest tells whether pieces that nothing waits for may be fetched now.
func (s *Schedule) mayRest() bool { return s.full && !s.waits() }

// waits tells whether a read waits for a piece.
func (s *Schedule) waits() bool {
	return slices.ContainsFunc(s.demand, func(w waiting) bool { return !s.have[w.piece] })
}

// ask notes that a piece is under way.
func (s *Schedule) ask(f Fetch) Fetch {
	if len(s.sources[f.Piece]) == 0 {
		s.fetching = append(s.fetching, f.Piece)
		s.asked[f.Piece] = s.now
	}
	s.sources[f.Piece] = append(s.sources[f.Piece], f.Peer)
	s.peers.byID[f.Peer].asked++
	s.raised = s.rules.Demand == 1 || s.random.Float64() < s.rules.Demand
	return f
}

// stop notes that a piece is no longer under way.
func (s *Schedule) stop(piece int) {
	if len(s.sources[piece]) == 0 {
		return
	}
	for _, id := range s.sources[piece] {
		s.peers.byID[id].asked--
	}
	s.sources[piece] = nil
	s.end(piece)
}

// end takes a piece from those under way.
func (s *Schedule) end(piece int) {
	s.fetching = slices.DeleteFunc(s.fetching, func(other int) bool { return other == piece })
}

// isBusy tells whether so many pieces are under way that no more may be.
func (s *Schedule) isBusy() bool {
	n := 0
	for _, piece := range s.fetching {
		if giver := s.peers.byID[s.sources[piece][0]]; !giver.far {
			n++
		}
	}
	return n >= maxFetching || len(s.fetching) >= maxFar
}

func (s *Schedule) valid(piece int) bool { return piece >= 0 && piece < len(s.have) }
