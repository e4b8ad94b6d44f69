package sim

import (
	"slices"
	"time"

	"swarmboot/peerd/swarm/schedule"
)

// With Slots a machine is asked for a piece only when it is about to send one:
// whoever finds something useful there wishes for a grant and waits in line, and
// decides for a piece when the grant comes. Without, a piece that is new at one
// machine is asked of that machine by all its peers at once; they have decided,
// and don't take it from those who have it next.

// wish returns grants that are of no use and asks for others.
func (h *hall) wish(n *node, now time.Time) {
	for _, i := range n.grants {
		if c := &n.conns[i]; c.granted {
			c.granted = false
			h.in(word, event{kind: passes, who: c.to, peer: c.back})
		}
	}
	n.grants = n.grants[:0]
	n.round++
	if n.under < h.Ahead {
		n.Useful(now, func(id schedule.Peer) {
			c := &n.conns[id]
			c.useful = n.round
			if !c.wishes && c.open {
				c.wishes = true
				n.wishes = append(n.wishes, int32(id))
				h.in(word, event{kind: wants, who: c.to, peer: c.back})
			}
		})
	}
	n.wishes = slices.DeleteFunc(n.wishes, func(i int32) bool {
		c := &n.conns[i]
		if c.wishes && c.open && c.useful != n.round {
			c.wishes = false
			h.in(word, event{kind: resigns, who: c.to, peer: c.back})
		}
		return !c.wishes || !c.open
	})
}

// want puts a connection into the line of those that wait for a grant.
func (h *hall) want(n *node, i int32) {
	c := &n.conns[i]
	c.wished = true
	if !c.inLine {
		c.inLine = true
		n.line = append(n.line, i)
	}
	h.grant(n)
}

// grant lets those in line ask for a piece each, as far as there are slots.
func (h *hall) grant(n *node) {
	for n.given < h.Slots && len(n.line) > 0 {
		i := n.line[0]
		n.line = n.line[1:]
		c := &n.conns[i]
		c.inLine = false
		if !c.open || !n.alive || !c.wished {
			continue
		}
		c.wished = false
		n.given++
		c.given++
		h.in(word, event{kind: grants, who: c.to, peer: c.back})
	}
}

// granted lets a machine ask for a piece.
func (h *hall) granted(n *node, i int32) {
	c := &n.conns[i]
	c.wishes = false
	if !n.alive || !c.open {
		return
	}
	c.granted = true
	n.grants = append(n.grants, i)
	h.decide(n)
}

// release frees the slot of a connection.
func (h *hall) release(n *node, i int32) {
	c := &n.conns[i]
	if c.given > 0 {
		c.given--
		n.given--
	}
	h.grant(n)
}
