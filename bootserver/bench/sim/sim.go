// Package sim boots a hall of machines under virtual time, with the same
// scheduler (peerd/swarm/schedule) and tracker as real ones: what ten thousand
// machines would do is computed in minutes.
//
// What it models: links of machines, racks and the server, which send one block
// after the other; the queues of requests; messages, which take a moment and
// their part of all links, and wait there behind pieces; a boot that reads its
// pieces in order and thinks in between; machines that come later or die. What it
// leaves out: TCP's slow start and losses, the ends of the links' queues, the time
// to verify a piece, HTTP as the last resort.
//
// A piece goes: read (machine.go) demands it, the schedule decides, ask queues
// it at its source, send (link.go) brings it block by block to arrive, and have
// tells the peers. All happens by events of the clock (clock.go). report_test.go
// is the only caller.
package sim

import (
	"io"
	"log/slog"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"swarmboot/bootserver/internal/tracker"
	"swarmboot/peerd/swarm/schedule"
)

// A Hall is machines that boot the same image from one server.
type Hall struct {
	Machines   int
	Racks      int     // they stand in as many racks of the same size; 0: in one
	Link       float64 // of each machine and of the server, each way, in bytes/s
	Uplink     float64 // of each rack, each way, in bytes/s; 0: it is no limit
	PieceBytes int
	BlockBytes int           // links send so much at a time
	Pieces     int           // of the image
	Hot        int           // of those a boot reads so many
	Compute    float64       // how long the boot thinks, as multiple of fetching what it reads
	Stagger    time.Duration // the machines are switched on at random within this time
	Full       bool          // it ends when all machines have the whole image, and not when they have booted
	Blind      bool          // the tracker doesn't know the racks
	Die        float64       // this part of the machines dies in the middle of the boot
	Idle       bool          // nothing is read; with Full the image is wanted from the beginning on
	Surprise   int           // each so many-th read is not of the profile; 0: all are
	Unprofiled bool          // nobody knows what a boot reads
	Rules      schedule.Rules
	Seed       uint64
}

// A Result is what a hall's boot has come to.
type Result struct {
	Hall
	Booted      int // machines
	Died        int
	LastBoot    time.Duration // from each machine's own beginning
	MedianBoot  time.Duration
	LastDone    time.Duration // with Full: until the whole image is there
	Server      int64         // bytes sent by the server
	ServerBoot  int64         // of these, of pieces that boots want
	Core        int64         // bytes that left or entered a rack, each counted once
	Duplicate   int64         // bytes that a machine had already
	LongestWait time.Duration // of a read
	Took        time.Duration // of real time
	Events      int
}

func (r *Result) wait(d nanos) { r.LongestWait = max(r.LongestWait, time.Duration(d)) }

// HotSeconds is W/c: how long one link needs for what a boot reads.
func (h Hall) HotSeconds() float64 { return float64(h.Hot*h.PieceBytes) / h.Link }

// Bound is the least time in which any scheme boots the last machine: the boot's
// own thinking, or the hot set at line rate and the doublings of its first piece.
func (h Hall) Bound() time.Duration {
	doublings := float64(bits.Len(uint(h.Machines)) - 1)
	fetch := h.HotSeconds() * (1 + doublings/float64(h.Hot))
	return time.Duration(1e9 * max(fetch, h.Compute*h.HotSeconds()))
}

// Ratio is the last boot's time, of the bound.
func (r Result) Ratio() float64 { return r.LastBoot.Seconds() / r.Bound().Seconds() }

// Copies is what the server sent, as copies of what was wanted: of the whole
// image, or of what a boot reads. What machines that have booted fetch besides,
// while others boot, is not of it.
func (r Result) Copies() float64 {
	if r.Full {
		return r.AllCopies(r.Pieces)
	}
	return float64(r.ServerBoot) / float64(r.Hot*r.PieceBytes)
}

// AllCopies is all that the server sent, as copies of so many pieces.
func (r Result) AllCopies(pieces int) float64 {
	return float64(r.Server) / float64(pieces*r.PieceBytes)
}

// CoreCopies is what crossed between racks, as multiple of one hot set for each.
func (r Result) CoreCopies() float64 {
	return float64(r.Core) / float64(max(1, r.Racks)*r.Hot*r.PieceBytes)
}

// Duplicates is what came twice, as part of what came.
func (r Result) Duplicates() float64 {
	return float64(r.Duplicate) / float64(r.Machines*r.Hot*r.PieceBytes)
}

// The kinds of events.
const (
	starts    kind = iota
	announces      // to the tracker
	reads          // the boot's next piece
	ticks          // the schedule is asked for what has become due
	asked          // a request arrives
	coming         // the machine learns what a peer is fetching, or the seeder gives
	told           // and what a peer has
	sent           // a block has passed the machine's uplink
	leaves         // a block reaches the sender's rack's link
	enters         // a block reaches the receiver's rack's link
	nearby         // a block reaches the receiver's link
	arrived        // a block has passed it
	dies
	wishes  // a machine would like to ask for a piece
	turns   // it may
	passes  // it has no use for its turn
	refused // the seeder doesn't give it a piece
)

// A hall is a Hall while it boots.
type hall struct {
	Hall
	clock
	random  *rand.Rand
	tracker *tracker.Tracker
	nodes   []*node
	racks   []rack
	trace   []int32 // the pieces that a boot reads
	wanted  []bool  // whether a piece is one of those, or of the profile
	think   nanos   // between two of them
	length  int32   // of a piece
	block   int32
	gifts   *schedule.Gifts[int32]
	waiting int // machines that have yet to boot or complete
	result  Result
}

var beginning = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (h *hall) time() time.Time { return beginning.Add(time.Duration(h.now)) }

// Boot boots all machines of the hall and tells how it went. The same Hall
// always gives the same result, but for the time that it took.
func (cfg Hall) Boot() Result {
	begin := time.Now()
	h := cfg.build()
	for _, n := range h.nodes[1:] {
		h.in(nanos(h.random.Float64()*float64(h.Stagger)), event{kind: starts, who: n.id})
	}
	limit := nanos(time.Second) * nanos(60+100*h.Bound().Seconds())
	for h.waiting > 0 && h.now < limit {
		e, ok := h.next()
		if !ok {
			break
		}
		h.result.Events++
		h.happen(e)
	}
	h.sum()
	h.result.Took = time.Since(begin)
	return h.result
}

// build puts up the machines, switched off.
func (cfg Hall) build() *hall {
	h := &hall{
		Hall:    cfg,
		random:  rand.New(rand.NewPCG(cfg.Seed, 1)),
		racks:   make([]rack, max(1, cfg.Racks)),
		length:  int32(cfg.PieceBytes),
		block:   int32(cfg.BlockBytes),
		think:   nanos(1e9 * cfg.Compute * cfg.HotSeconds() / float64(cfg.Hot)),
		wanted:  make([]bool, cfg.Pieces),
		gifts:   schedule.NewGifts[int32](cfg.Pieces),
		waiting: cfg.Machines,
		result:  Result{Hall: cfg},
	}
	for i := range h.racks {
		rate := cfg.Uplink
		if rate == 0 {
			rate = math.Inf(1)
		}
		h.racks[i] = rack{newPipe(rate), newPipe(rate)}
	}
	profile := make([]int, cfg.Hot)
	for i := range profile {
		profile[i] = i
		h.wanted[i] = true
		if read := i; !cfg.Idle {
			if cfg.Surprise > 0 && i%cfg.Surprise == cfg.Surprise/2 {
				read = (cfg.Hot + i) % cfg.Pieces
			}
			h.trace = append(h.trace, int32(read))
			h.wanted[read] = true
		}
	}
	if cfg.Unprofiled {
		profile = nil
	}
	for id := range int32(cfg.Machines + 1) {
		n := &node{id: id, rack: h.rackOf(id), up: newPipe(cfg.Link), down: newPipe(cfg.Link), booted: -1, completed: -1, left: cfg.Pieces}
		n.has = make([]bool, cfg.Pieces)
		if id == server {
			n.alive = true
			n.left = 0
			for i := range n.has {
				n.has[i] = true
			}
		} else {
			n.Schedule = schedule.New(cfg.Pieces, profile, h.random.Uint64())
			n.SetRules(cfg.Rules)
		}
		h.nodes = append(h.nodes, n)
	}
	h.tracker = tracker.New(func(a netip.Addr) string {
		if cfg.Blind {
			return ""
		}
		return strconv.Itoa(int(h.rackOf(number(netip.AddrPortFrom(a, 0)))))
	}, cfg.Seed, slog.New(slog.NewTextHandler(io.Discard, nil)))
	h.tracker.Open([20]byte{}, address(server))
	return h
}

// rackOf is the rack of a machine; machines that are neighbours in number stand
// in one rack.
func (h *hall) rackOf(id int32) int32 {
	if id == server {
		return -1
	}
	return (id - 1) * int32(len(h.racks)) / int32(h.Machines)
}

// happen does what an event says.
func (h *hall) happen(e event) {
	n := h.nodes[e.who]
	switch e.kind {
	case starts:
		h.begin(n)
		if h.random.Float64() < h.Die {
			h.in(nanos(h.random.Float64()*float64(h.Bound())), event{kind: dies, who: n.id})
		}
	case announces:
		h.announce(n)
	case reads:
		h.read(n)
	case ticks:
		if h.decide(n); n.alive && n.left > 0 {
			h.in(tick, event{kind: ticks, who: n.id})
		}
	case asked:
		h.ask(n, e.peer, e.piece)
	case coming:
		n.Coming(schedule.Peer(e.peer), int(e.piece), h.time())
	case told:
		h.hear(n, e.peer, e.piece)
	case sent:
		h.send(n)
	case leaves:
		h.leave(e)
	case enters:
		h.enter(e)
	case nearby:
		h.near(e)
	case arrived:
		h.arrive(n, e)
	case wishes:
		n.asking.Wish(e.peer, schedule.Urgency(e.piece))
		h.give(n)
	case turns:
		h.turn(n, e.peer)
	case refused:
		n.Refused(schedule.Peer(e.peer), int(e.piece), h.time())
		h.decide(n)
	case passes:
		n.asking.Pass(e.peer)
		h.give(n)
	case dies:
		if !h.settled(n) {
			h.die(n)
		}
	}
}

// settled tells whether a machine has come as far as it shall.
func (h *hall) settled(n *node) bool {
	return n.booted >= 0 && (!h.Full || n.completed >= 0)
}

// settle notes that a machine may just have come so far, or has died.
func (h *hall) settle(n *node) {
	if h.settled(n) || !n.alive {
		h.waiting--
	}
}

// sum fills in the result.
func (h *hall) sum() {
	var boots []time.Duration
	for _, n := range h.nodes[1:] {
		if n.booted >= 0 {
			boots = append(boots, time.Duration(n.booted-n.began))
		}
		if n.completed >= 0 {
			h.result.LastDone = max(h.result.LastDone, time.Duration(n.completed-n.began))
		}
	}
	slices.Sort(boots)
	if h.result.Booted = len(boots); len(boots) > 0 {
		h.result.LastBoot, h.result.MedianBoot = boots[len(boots)-1], boots[len(boots)/2]
	}
}
