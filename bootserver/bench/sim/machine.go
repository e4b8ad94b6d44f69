package sim

import (
	"net/netip"
	"slices"
	"time"

	"swarmboot/peerd/announce"
	"swarmboot/peerd/swarm/schedule"
)

// What a session (peerd/swarm) adds to its schedule.
const (
	maxDials  = 25   // machines that a machine dials
	maxConns  = 100  // of a machine
	seedConns = 1000 // of the seeder
	tick      = 50 * nanos(time.Millisecond)
	word      = 300 * nanos(time.Microsecond) // until a message arrives that finds no queue
	wanted    = announce.DefaultWanted
)

// server is the seeder's number. It stands in no rack.
const server = 0

// A node is one machine, or the server.
type node struct {
	id, rack int32
	alive    bool
	*schedule.Schedule
	has     []bool
	left    int // pieces
	conns   []conn
	open    int // of those
	dialled int // machines, of those

	up, down pipe
	line     []int32 // connections that have something to send, in turn
	sending  bool
	asking   schedule.Turns[int32] // which connections may ask for a piece
	turned   []int32               // connections that have given this machine a turn

	began, booted, completed nanos // -1: not yet
	reading                  int   // place in the boot's trace
	waits                    bool  // for that piece
	since                    nanos
}

// A conn is one end of a connection.
type conn struct {
	to, back int32 // the other end: whose, and which of its conns
	open     bool
	dialled  bool // a machine, by this one
	inLine   bool // to send
	queue    []upload

	turns int              // that the other end has given
	wish  schedule.Urgency // that the other end knows of

	waits nanos // until then a packet of this end's waits for the uplink
}

// An upload is what the other end has asked for.
type upload struct{ piece, left int32 }

// connect lets a dial b, if it may and both have room, and tells each what the
// other has.
func (h *hall) connect(a, b int32) {
	m, n := h.nodes[a], h.nodes[b]
	if a == b || !m.alive || !n.alive || !m.room() || !n.room() || b != server && m.dialled == maxDials {
		return
	}
	for _, c := range m.conns {
		if c.open && c.to == b {
			return
		}
	}
	i, j := int32(len(m.conns)), int32(len(n.conns))
	m.conns = append(m.conns, conn{to: b, back: j, open: true, dialled: b != server})
	if b != server {
		m.dialled++
	}
	n.conns = append(n.conns, conn{to: a, back: i, open: true})
	m.open++
	n.open++
	far := h.far(m, n)
	m.asking.Join(i, int(h.length), far)
	n.asking.Join(j, int(h.length), far)
	h.meet(m, n, i)
	h.meet(n, m, j)
}

func (n *node) room() bool {
	if n.id == server {
		return n.open < seedConns
	}
	return n.open < maxConns
}

// far tells whether two machines know that they stand in different racks.
func (h *hall) far(m, n *node) bool {
	return !h.Blind && m.id != server && n.id != server && m.rack != n.rack
}

// meet tells n's schedule about its new connection to other.
func (h *hall) meet(n, other *node, i int32) {
	if n.id == server {
		return
	}
	n.Join(schedule.Peer(i), other.id == server)
	if other.id == server {
		return
	}
	if h.far(n, other) {
		n.Far(schedule.Peer(i))
	}
	for piece, has := range other.has {
		if has && !n.has[piece] {
			n.Offers(schedule.Peer(i), piece)
		}
	}
}

// decide does what a machine's schedule decides.
func (h *hall) decide(n *node) {
	if n.id == server || !n.alive {
		return
	}
	now := h.time()
	for {
		f, ok := n.Next(now, func(id schedule.Peer) bool { return n.conns[id].turns > 0 })
		if !ok {
			break
		}
		c := &n.conns[f.Peer]
		if c.turns > 0 {
			c.turns--
			if f.Urgency < c.wish {
				h.wish(n, c, f.Urgency)
			}
		}
		h.say(n, c, event{kind: asked, piece: int32(f.Piece)})
		if c.to == server || h.far(n, h.nodes[c.to]) {
			h.sayAll(n, event{kind: coming, piece: int32(f.Piece)})
		}
	}
	keep := n.Keep()
	n.turned = slices.DeleteFunc(n.turned, func(i int32) bool {
		c := &n.conns[i]
		if c.turns > 0 && keep >= c.turns && !h.far(n, h.nodes[c.to]) {
			keep -= c.turns
			return false
		}
		for ; c.turns > 0; c.turns-- {
			c.wish = schedule.Nothing
			h.say(n, c, event{kind: passes})
		}
		return true
	})
	n.Wishes(now, func(id schedule.Peer, u schedule.Urgency) {
		if c := &n.conns[id]; u > c.wish && c.open {
			h.wish(n, c, u)
		}
	})
}

// wish tells the other end of a connection how much this one wants to ask.
func (h *hall) wish(n *node, c *conn, u schedule.Urgency) {
	c.wish = u
	h.say(n, c, event{kind: wishes, piece: int32(u)})
}

// give gives the turns that a node has to give.
func (h *hall) give(n *node) {
	if !n.alive {
		return
	}
	now := h.time()
	for i, ok := n.asking.Next(now); ok; i, ok = n.asking.Next(now) {
		h.say(n, &n.conns[i], event{kind: turns})
	}
}

// turn takes a turn that a peer gives.
func (h *hall) turn(n *node, i int32) {
	c := &n.conns[i]
	if !n.alive || !c.open {
		return
	}
	if c.turns == 0 {
		n.turned = append(n.turned, i)
	}
	c.turns++
	c.wish = min(c.wish, schedule.Profile)
	h.decide(n)
}

// ask puts a request into the queue of the connection that it came by, unless
// the seeder refuses it.
func (h *hall) ask(n *node, i, piece int32) {
	c := &n.conns[i]
	if !n.alive || !c.open {
		return
	}
	if n.id == server {
		give, begins := h.gifts.Give(int(piece), c.to, h.time(), h.heard)
		if !give {
			n.asking.Asked(i, int(piece), int(h.length))
			n.asking.Sent(i, int(h.length))
			h.say(n, c, event{kind: refused, piece: piece})
			h.give(n)
			return
		}
		if begins {
			h.sayAll(n, event{kind: coming, piece: piece})
		}
	}
	c.queue = append(c.queue, upload{piece, h.length})
	n.asking.Asked(i, int(piece), int(h.length))
	if !c.inLine {
		c.inLine = true
		n.line = append(n.line, i)
	}
	if !n.sending {
		h.send(n)
	}
}

// arrive takes a block.
func (h *hall) arrive(n *node, e event) {
	c := &n.conns[e.peer]
	if !n.alive || !c.open {
		return
	}
	switch {
	case n.has[e.piece]:
		h.result.Duplicate += int64(e.bytes)
	case e.last:
		h.have(n, e.piece)
		h.decide(n)
	}
}

// have takes a piece that is complete, and tells the peers.
func (h *hall) have(n *node, piece int32) {
	n.has[piece] = true
	n.left--
	n.Have(int(piece))
	h.sayAll(n, event{kind: told, piece: piece})
	if n.left == 0 {
		n.completed = h.now
		if h.Full {
			h.settle(n)
		}
	}
	if n.waits && h.trace[n.reading] == piece {
		h.result.wait(h.now - n.since)
		n.waits = false
		n.Demand(nil, h.time())
		h.in(h.think, event{kind: reads, who: n.id})
		n.reading++
	}
}

// heard tells when a machine last said anything: as long as it lives, just now.
func (h *hall) heard(machine int32) (last time.Time) {
	if h.nodes[machine].alive {
		last = h.time()
	}
	return last
}

// hear takes a peer's word that it has a piece.
func (h *hall) hear(n *node, i, piece int32) {
	if n.alive && n.conns[i].open && !n.has[piece] {
		n.Offers(schedule.Peer(i), int(piece))
		h.decide(n)
	}
}

// sayAll says a word about a piece to those of a machine's peers that lack it.
func (h *hall) sayAll(n *node, e event) {
	for i := range n.conns {
		if c := &n.conns[i]; c.open && !h.nodes[c.to].has[e.piece] {
			h.say(n, c, e)
		}
	}
}

// read lets the boot go on: think, read a piece, think.
func (h *hall) read(n *node) {
	if !n.alive {
		return
	}
	if n.reading == len(h.trace) {
		n.booted = h.now
		n.SetFull(true)
		h.settle(n)
		h.decide(n)
		return
	}
	piece := h.trace[n.reading]
	if n.has[piece] {
		n.reading++
		h.in(h.think, event{kind: reads, who: n.id})
		return
	}
	n.waits, n.since = true, h.now
	n.Demand([]int{int(piece)}, h.time())
	h.decide(n)
}

// announce tells the tracker of a machine, and dials whom that names.
func (h *hall) announce(n *node) {
	if !n.alive {
		return
	}
	answer, _ := h.tracker.Announce(announce.Request{Address: address(n.id), Left: int64(n.left), Wanted: wanted}, h.time())
	for _, a := range answer.Peers {
		h.connect(n.id, number(a))
	}
	h.in(nanos(answer.Interval), event{kind: announces, who: n.id})
	h.decide(n)
}

// begin switches a machine on.
func (h *hall) begin(n *node) {
	n.alive, n.began = true, h.now
	h.announce(n)
	h.in(0, event{kind: reads, who: n.id})
	h.in(tick, event{kind: ticks, who: n.id})
}

// die switches a machine off. Its peers notice at once, as when a process ends.
func (h *hall) die(n *node) {
	n.alive = false
	h.result.Died++
	for i := range n.conns {
		c := &n.conns[i]
		if !c.open {
			continue
		}
		other := h.nodes[c.to]
		other.asking.Leave(c.back)
		h.give(other)
		c.open, other.conns[c.back].open = false, false
		other.open--
		if other.conns[c.back].dialled {
			other.dialled--
		}
		if other.id != server {
			other.Leave(schedule.Peer(c.back))
			h.decide(other)
		}
	}
	h.settle(n)
}

// address is a machine's; number is the machine of an address.
func address(id int32) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(id >> 16), byte(id >> 8), byte(id)}), 6881)
}

func number(a netip.AddrPort) int32 {
	b := a.Addr().As4()
	return int32(b[1])<<16 | int32(b[2])<<8 | int32(b[3])
}
