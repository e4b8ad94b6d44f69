// Package enginelink is what peerd's two processes say to each other, over a
// pair of connected stream sockets: the root server (Root) and the swarm engine
// that it has started (Engine).
//
// Root begins with a Hello and then sends orders: which pieces reads wait for,
// which pieces have come by another way, how hard to fetch the rest. The engine
// sends each piece it has completed, and its Stats every second; each piece is
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
	Pieces  images.Pieces
	Torrent []byte
	Tracker string
	Seeder  netip.AddrPort
	Peers   []netip.AddrPort
	Listen  netip.AddrPort
	Profile []int
	Have    []bool // pieces that are in the image file
}

// Orders are what the root server tells the engine while both run; a
// swarm.Session obeys them.
type Orders interface {
	Demand(pieces []int)
	Have(piece int)
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
// from one goroutine. Of demands and paces only the newest is kept. Both ends
// have one: the read path must not wait for the engine, and the engine's
// receiver must not wait for a session that itself may wait for an answer.
type mailbox struct {
	wake chan struct{} // holds a token when there is something to hand on

	mu     sync.Mutex
	demand *[]int      // guarded by mu, like all below
	have   []int       // in order of arrival
	pace   *swarm.Pace // nil: nothing new, as in demand
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) Demand(pieces []int)  { m.drop(func() { m.demand = &pieces }) }
func (m *mailbox) Have(piece int)       { m.drop(func() { m.have = append(m.have, piece) }) }
func (m *mailbox) SetPace(p swarm.Pace) { m.drop(func() { m.pace = &p }) }

func (m *mailbox) drop(change func()) {
	m.mu.Lock()
	change()
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// handOn passes the orders to the given functions until ctx ends or one fails.
func (m *mailbox) handOn(ctx context.Context, demand, have func([]int) error, pace func(swarm.Pace) error) error {
	for {
		select {
		case <-m.wake:
		case <-ctx.Done():
			return nil
		}
		m.mu.Lock()
		newDemand, newHave, newPace := m.demand, m.have, m.pace
		m.demand, m.have, m.pace = nil, nil, nil
		m.mu.Unlock()

		if newPace != nil {
			if err := pace(*newPace); err != nil {
				return err
			}
		}
		if newDemand != nil {
			if err := demand(*newDemand); err != nil {
				return err
			}
		}
		if len(newHave) > 0 {
			if err := have(newHave); err != nil {
				return err
			}
		}
	}
}
