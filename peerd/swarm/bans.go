package swarm

import (
	"net/netip"
	"sync"
	"time"

	"swarmboot/peerd/announce"
)

const (
	// strikes is how many damaged pieces a machine may send. One may have been
	// damaged in its memory or on the way.
	strikes = 2

	// amnesty is how long after the last of them it may try again: it may have been
	// repaired, or its address be another's.
	amnesty = 10 * time.Minute
)

// bans are the machines that have sent damaged pieces, by address. Nothing is
// fetched from one that is banned; what it wants it gets, or it would fetch all of
// its image from the server.
type bans struct {
	news chan struct{} // holds a token when the tracker has yet to hear of one

	mu      sync.Mutex
	strikes map[netip.Addr]strike // guarded by mu
}

// A strike is what is held against a machine.
type strike struct {
	pieces int
	last   time.Time
}

func newBans() *bans {
	return &bans{news: make(chan struct{}, 1), strikes: make(map[netip.Addr]strike)}
}

// add notes a damaged piece, and tells whether its sender is banned for it.
func (b *bans) add(machine netip.Addr, now time.Time) (banned bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.strikes[machine]
	if now.Sub(s.last) >= amnesty {
		s.pieces = 0
	}
	s.pieces++
	s.last = now
	b.strikes[machine] = s
	if s.pieces != strikes {
		return false
	}
	select {
	case b.news <- struct{}{}:
	default:
	}
	return true
}

// has tells whether a machine is banned.
func (b *bans) has(machine netip.Addr, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.strikes[machine].ban(now)
}

func (s strike) ban(now time.Time) bool { return s.pieces >= strikes && now.Sub(s.last) < amnesty }

// list names machines that are banned, as many as an announce may.
func (b *bans) list(now time.Time) (machines []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for machine, s := range b.strikes {
		if s.ban(now) && len(machines) < announce.MaxBanned {
			machines = append(machines, machine)
		}
	}
	return machines
}
