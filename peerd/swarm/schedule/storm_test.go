package schedule

import (
	"container/heap"
	"fmt"
	"testing"
	"time"
)

// A storm is machines that boot the same image from one seeder, under virtual
// time. Each uplink sends one piece after the other; words (HAVE, and what a
// machine tells it's fetching) take a moment to arrive.
type storm struct {
	t        *testing.T
	pieces   int
	nodes    []*machine // the seeder is node 0
	now      time.Time
	events   events
	sent     int // pieces sent by the seeder
	happened int
}

type machine struct {
	*Schedule
	id    Peer
	busy  time.Time    // until when its uplink sends
	queue map[Peer]int // pieces under way from each peer
	has   map[int]bool
	began time.Time
	log   []int                 // pieces in the order of their arrival
	wait  map[int]time.Duration // how long demand waited
	since map[int]time.Time
}

type event struct {
	at time.Time
	n  int // order among events of the same time
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any     { x := (*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return x }

const (
	pieceTime = 20 * time.Millisecond // 256 KiB at 100 Mbit/s
	wordTime  = 300 * time.Microsecond
)

func newStorm(t *testing.T, pieces, machines int, stagger time.Duration, profile []int) *storm {
	s := &storm{t: t, pieces: pieces, now: begin}
	for id := range machines + 1 {
		m := &machine{
			Schedule: New(pieces, profile, uint64(id)), id: Peer(id), queue: make(map[Peer]int),
			has: make(map[int]bool), wait: make(map[int]time.Duration), since: make(map[int]time.Time),
		}
		s.nodes = append(s.nodes, m)
		if id == 0 {
			continue
		}
		s.after(time.Duration(id-1)*stagger, func() {
			m.began = s.now
			m.Join(0, true)
			for _, other := range s.nodes[1:id] {
				m.Join(other.id, false)
				other.Join(m.id, false)
				for piece := range other.has {
					m.Offers(other.id, piece)
				}
			}
			s.decide(m)
		})
	}
	return s
}

func (s *storm) after(d time.Duration, do func()) {
	s.happened++
	heap.Push(&s.events, event{s.now.Add(d), s.happened, do})
}

// demand makes a machine wait for pieces, one after the other.
func (s *storm) demand(m *machine, pieces []int) {
	for len(pieces) > 0 && m.has[pieces[0]] {
		pieces = pieces[1:]
	}
	if len(pieces) == 0 {
		m.Demand(nil, s.now)
		return
	}
	if m.Demand(pieces[:1], s.now); m.since[pieces[0]].IsZero() {
		m.since[pieces[0]] = s.now
	}
	s.decide(m)
	s.after(time.Millisecond, func() { s.demand(m, pieces) })
}

func (s *storm) decide(m *machine) {
	for {
		f, ok := m.Next(s.now, func(id Peer) bool { return m.queue[id] < 2 })
		if !ok {
			return
		}
		if m.has[f.Piece] {
			s.t.Fatalf("machine %d fetches piece %d again", m.id, f.Piece)
		}
		m.queue[f.Peer]++
		source := s.nodes[f.Peer]
		if source.busy.Before(s.now) {
			source.busy = s.now
		}
		source.busy = source.busy.Add(pieceTime)
		if f.Peer == 0 {
			s.sent++
			for _, other := range s.nodes[1:] {
				s.after(wordTime, func() { other.Coming(0, f.Piece, s.now) })
			}
		}
		s.after(source.busy.Sub(s.now)+wordTime, func() { s.arrive(m, f) })
	}
}

func (s *storm) arrive(m *machine, f Fetch) {
	m.queue[f.Peer]--
	if !m.has[f.Piece] {
		m.has[f.Piece] = true
		m.log = append(m.log, f.Piece)
		if !m.since[f.Piece].IsZero() {
			m.wait[f.Piece] = s.now.Sub(m.since[f.Piece])
		}
		m.Have(f.Piece)
		for _, other := range s.nodes[1:] {
			if other != m {
				s.after(wordTime, func() { other.Offers(m.id, f.Piece); s.decide(other) })
			}
		}
	}
	s.decide(m)
}

// run lets time pass until nothing happens any more. The schedules are also
// asked every 50 ms, for what becomes due.
func (s *storm) run(limit time.Duration) {
	var tick func()
	tick = func() {
		done := true
		for _, m := range s.nodes[1:] {
			done = done && m.Complete() && !m.began.IsZero()
			if !m.began.IsZero() {
				s.decide(m)
			}
		}
		if !done && s.now.Sub(begin) < limit {
			s.after(50*time.Millisecond, tick)
		}
	}
	s.after(0, tick)
	for s.events.Len() > 0 {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
	for _, m := range s.nodes[1:] {
		if !m.Complete() {
			s.t.Errorf("machine %d has %d of %d pieces after %v", m.id, len(m.has), s.pieces, s.now.Sub(begin))
		}
		if len(m.log) != len(m.has) {
			s.t.Errorf("machine %d fetched %d pieces; has %d", m.id, len(m.log), len(m.has))
		}
	}
}

func (s *storm) copies() float64 { return float64(s.sent) / float64(s.pieces) }

func TestStormCompletesWithOneCopy(t *testing.T) {
	profile := make([]int, 100)
	for i := range profile {
		profile[i] = 3 * i
	}
	for _, stagger := range []time.Duration{0, 500 * time.Millisecond, 3 * time.Second} {
		for _, machines := range []int{3, 8} {
			t.Run(fmt.Sprintf("%d every %v", machines, stagger), func(t *testing.T) {
				s := newStorm(t, 400, machines, stagger, profile)
				for _, m := range s.nodes[1:] {
					m.SetFull(true)
				}
				s.run(5 * time.Minute)
				took := s.now.Sub(begin)
				bound := 400*pieceTime + time.Duration(machines-1)*stagger
				t.Logf("%.3f copies, %v, %.2f of the bound", s.copies(), took, float64(took)/float64(bound))
				if s.copies() > 1.3 {
					t.Errorf("the seeder sent %.2f copies; want at most 1.3", s.copies())
				}
				if took > bound*3/2 {
					t.Errorf("the storm took %v; want at most 1.5 of %v", took, bound)
				}
			})
		}
	}
}

// Machines that read in step wait for the same pieces. They come before the
// window and still cost the seeder little more than one copy.
func TestStormWithDemand(t *testing.T) {
	const reads = 40
	profile := make([]int, 200)
	for i := range profile {
		profile[i] = i
	}
	s := newStorm(t, 400, 8, 0, profile)
	demand := make([]int, reads)
	for i := range demand {
		demand[i] = 399 - 5*i // not in the profile's order
	}
	for _, m := range s.nodes[1:] {
		m.SetFull(true)
		s.after(10*time.Millisecond, func() { s.demand(m, demand) })
	}
	s.run(5 * time.Minute)
	var worst, sum time.Duration
	for _, m := range s.nodes[1:] {
		for _, d := range m.wait {
			worst, sum = max(worst, d), sum+d
		}
	}
	t.Logf("%.3f copies; demand waited %v on average, %v at worst", s.copies(), sum/(8*reads), worst)
	if s.copies() > 1.3 {
		t.Errorf("the seeder sent %.2f copies; want at most 1.3", s.copies())
	}
	if worst > 2*demandDeadline {
		t.Errorf("a read waited %v; want at most twice the deadline of %v", worst, demandDeadline)
	}
}
