package sim

import "slices"

// A pipe is one direction of a link. It sends one block after the other.
type pipe struct {
	perByte float64 // nanoseconds
	free    nanos   // when the last block will have passed
}

func newPipe(bytesPerSecond float64) pipe { return pipe{perByte: 1e9 / bytesPerSecond} }

// pass tells when a block that arrives now has passed.
func (p *pipe) pass(now nanos, bytes int32) nanos {
	p.free = max(p.free, now) + nanos(float64(bytes)*p.perByte)
	return p.free
}

// A rack is the two directions of its link to the others.
type rack struct{ up, down pipe }

// sendersAtOnce is how many connections share an uplink (uplink.go in peerd/swarm).
const sendersAtOnce = 2

// send lets a machine's uplink, when it is free, send the next block. A few
// connections take turns, each until its piece is through. A block goes through
// the uplink, between racks through those of the racks, and through the downlink;
// what it finds there it waits for.
func (h *hall) send(n *node) {
	for n.sending = false; len(n.line) > 0; {
		i := n.line[0]
		n.line = n.line[1:]
		c := &n.conns[i]
		h.drop(n, i)
		if len(c.queue) == 0 {
			c.inLine = false
			continue
		}
		u := &c.queue[0]
		block := event{kind: arrived, who: c.to, peer: c.back, piece: u.piece, bytes: min(u.left, h.block)}
		if u.left -= block.bytes; u.left > 0 {
			n.line = slices.Insert(n.line, min(sendersAtOnce-1, len(n.line)), i)
		} else {
			block.last = true
			c.queue = c.queue[1:]
			n.line = append(n.line, i)
		}
		n.asking.Sent(i, int(block.bytes))
		n.sending = true
		h.count(n, block)
		c.waits = n.up.pass(h.now, block.bytes)
		h.at(c.waits, event{kind: sent, who: n.id})
		if block.kind = nearby; h.cross(n, h.nodes[c.to]) {
			block.kind = leaves
		}
		h.at(n.up.free, block)
		break
	}
	h.give(n)
}

// Bytes of a message, and of a packet's headers (Ethernet, IP, TCP).
const (
	message = 9
	headers = 66
)

// say sends a message to the other end of a connection. Small as they are, each of
// 32 machines that boot in step says 11,000 of them, a tenth of what it fetches; and
// they wait behind the pieces that they find on their way. A message that finds
// another of its connection waiting for the uplink joins it, as with TCP; every
// second packet is acknowledged.
func (h *hall) say(n *node, c *conn, e event) {
	bytes := int32(message)
	if h.now >= c.waits {
		bytes += headers
		h.carry(h.nodes[c.to], n, headers/2)
	}
	at := h.carry(n, h.nodes[c.to], bytes)
	c.waits = n.up.free
	e.who, e.peer = c.to, c.back
	h.at(at+word, e)
}

// carry takes from all links between two machines at once what a small packet needs,
// and tells when it is through.
func (h *hall) carry(from, to *node, bytes int32) nanos {
	through := max(from.up.pass(h.now, bytes), to.down.pass(h.now, bytes))
	if h.cross(from, to) {
		if from.rack >= 0 {
			through = max(through, h.racks[from.rack].up.pass(h.now, bytes))
		}
		if to.rack >= 0 {
			through = max(through, h.racks[to.rack].down.pass(h.now, bytes))
		}
	}
	return through
}

// cross tells whether the core is between two machines; the server stands beside it.
func (h *hall) cross(a, b *node) bool { return a.rack != b.rack && len(h.racks) > 1 }

// drop forgets what the other end has got elsewhere, or nobody awaits.
func (h *hall) drop(n *node, i int32) {
	c := &n.conns[i]
	for len(c.queue) > 0 && (!c.open || h.nodes[c.to].has[c.queue[0].piece]) {
		n.asking.Sent(i, int(c.queue[0].left))
		c.queue = c.queue[1:]
	}
}

// count adds a block to the sums of what was sent.
func (h *hall) count(from *node, block event) {
	bytes := int64(block.bytes)
	if from.id == server {
		h.result.Server += bytes
		if h.wanted[block.piece] {
			h.result.ServerBoot += bytes
		}
	}
	if h.cross(from, h.nodes[block.who]) {
		h.result.Core += bytes
	}
}

// leave, enter and near are a block's way after its sender's uplink. Each is its
// arrival at a link: what comes first passes first.
func (h *hall) leave(e event) {
	from := h.nodes[h.nodes[e.who].conns[e.peer].to]
	e.kind = enters
	if from.rack < 0 { // the server stands beside the core
		h.enter(e)
		return
	}
	h.at(h.racks[from.rack].up.pass(h.now, e.bytes), e)
}

func (h *hall) enter(e event) {
	e.kind = nearby
	to := h.nodes[e.who]
	if to.rack < 0 {
		h.near(e)
		return
	}
	h.at(h.racks[to.rack].down.pass(h.now, e.bytes), e)
}

func (h *hall) near(e event) {
	e.kind = arrived
	h.at(h.nodes[e.who].down.pass(h.now, e.bytes), e)
}
