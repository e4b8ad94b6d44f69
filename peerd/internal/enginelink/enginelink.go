// Package enginelink is what peerd's two processes say to each other, over a
// pair of connected stream sockets: the root server (Root) and the swarm engine
// that it has started (Engine).
//
// Root begins with a Hello and then sends orders: which pieces reads wait for,
// which pieces come or have come by another way, how hard to fetch the rest. The engine
// sends each piece it has completed, which pieces it leaves to another way, and
// its Stats several times a second; each piece is
// answered, after the root server has verified and stored it. For the engine
// the link is thereby a swarm.Store: it reads the image file itself, and writes
// through the link. Nothing of the engine ever reaches the file unverified, and
// one that is killed in the middle of a message loses that message only.
//
// enginelink.go has the common words, frame.go the bytes on the wire, root.go
// and engine.go the two ends.
package enginelink

import (
	"context"
	"net/netip"
	"sync"

	"swarmboot/images"
	"swarmboot/peerd/swarm"
)

// Hello is the first message: all that the engine has to know.
type Hello struct {
	Pieces    images.Pieces
	Torrent   []byte
	Tracker   string
	Seeder    netip.AddrPort
	Peers     []netip.AddrPort
	Rack      string
	Listen    netip.AddrPort
	Profile   []int
	Have      []bool // pieces that are in the image file
	Elsewhere []int  // pieces that come by another way, as in Orders
	Drafts    []swarm.Draft
}

// news is what the engine tells of itself.
type news struct {
	swarm.Stats
	Connections []swarm.Connection
}

// Orders are what the root server tells the engine while both run; a
// swarm.Session obeys them.
type Orders interface {
	Have(piece int)
	// Elsewhere replaces the set of pieces that come by another way. left is called
	// with those of them that the session doesn't fetch, and won't.
	Elsewhere(pieces []int, left func(pieces []int))
	Demand(pieces []int)
	SetPace(swarm.Pace)
}

// answers to a piece
const (
	stored    = iota // it is in the image file
	bad              // it is not what the manifest says
	notStored        // the root server could not store it
	answerCount
)

// mailbox takes orders without ever making the sender wait, and hands them on
// from one goroutine. Both ends have one: the read path must not wait for the
// engine, and the engine's receiver must not wait for a session that itself may
// wait for an answer.
type mailbox struct {
	wake chan struct{} // holds a token when there is something to hand on

	mu  sync.Mutex
	new orders // guarded by mu
}

// orders are those not handed on yet. Of all but have only the newest counts;
// nil means that there is none.
type orders struct {
	have      []int // in order of arrival
	elsewhere *[]int
	demand    *[]int
	pace      *swarm.Pace
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) Have(piece int)         { m.drop(func(o *orders) { o.have = append(o.have, piece) }) }
func (m *mailbox) Elsewhere(pieces []int) { m.drop(func(o *orders) { o.elsewhere = &pieces }) }
func (m *mailbox) Demand(pieces []int)    { m.drop(func(o *orders) { o.demand = &pieces }) }
func (m *mailbox) SetPace(p swarm.Pace)   { m.drop(func(o *orders) { o.pace = &p }) }

func (m *mailbox) drop(change func(*orders)) {
	m.mu.Lock()
	change(&m.new)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// handOn passes the orders to obey until ctx ends or it fails.
func (m *mailbox) handOn(ctx context.Context, obey func(orders) error) error {
	for {
		select {
		case <-m.wake:
		case <-ctx.Done():
			return nil
		}
		m.mu.Lock()
		o := m.new
		m.new = orders{}
		m.mu.Unlock()
		if err := obey(o); err != nil {
			return err
		}
	}
}
