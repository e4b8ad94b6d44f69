package swarm

import (
	"context"
	"net/netip"
)

// A Session is this computer's part in the swarm of one image.
type Session struct {
	cfg Config
}

// New opens the port of a session. Run must be called to work and to close it.
func New(cfg Config) (*Session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Session{cfg: cfg}, nil
}

// Run fetches and serves until ctx is done or the store fails, and returns
// after all it started has ended. A requested stop is not an error.
func (s *Session) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Addr is where the session listens.
func (s *Session) Addr() netip.AddrPort { return s.cfg.Listen }

// Demand replaces the set of pieces that reads wait for.
func (s *Session) Demand(pieces []int) {}

// Have tells that a piece has reached the store by another way; it is announced
// to the peers.
func (s *Session) Have(piece int) {}

// SetPace says how hard to fetch what nothing waits for. A session begins with
// Trickle.
func (s *Session) SetPace(p Pace) {}

// Stats tells what the session has done so far.
func (s *Session) Stats() Stats { return Stats{} }
