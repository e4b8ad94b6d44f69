// Package tracker tells peers of the same image about each other (BEP 3).
//
// It tracks only swarms that the boot server has opened (Open), and knows in
// which rack a machine is. A machine is told about the machines of its rack;
// some of each rack, its fetchers, also about those of other racks, so that an
// image crosses into a rack about once (swarm.go decides). A few fetchers of each
// rack are handed the server's own seeder. Machines also tell whom they have
// banned (suspects.go).
//
// bootserver.Server and the simulator in bootserver/bench/sim are its callers;
// the words on the wire are peerd/announce's.
package tracker

import (
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"swarmboot/peerd/announce"
)

const (
	interval    = 30 * time.Second
	minInterval = 5 * time.Second
	// silence is how long a peer may miss announces before it is forgotten.
	silence = 3 * interval
	// maxPeers bounds one swarm: a peer is told by address and port, so one
	// machine could otherwise fill the memory.
	maxPeers = 16384
)

// Tracker knows the peers of each swarm.
type Tracker struct {
	log    *slog.Logger
	rackOf func(netip.Addr) string

	mu     sync.Mutex
	random *rand.Rand          // guarded by mu
	swarms map[[20]byte]*swarm // guarded by mu
	bans   testimonies         // guarded by mu
}

// New returns a tracker without swarms. rackOf names the rack of the machine
// that has an address; machines with the same name are near each other. With
// the same seed and the same announces a tracker always answers alike.
func New(rackOf func(netip.Addr) string, seed uint64, log *slog.Logger) *Tracker {
	return &Tracker{log: log, rackOf: rackOf, random: rand.New(rand.NewPCG(seed, 0)), swarms: map[[20]byte]*swarm{}, bans: testimonies{}}
}

// Open lets peers announce infoHash; seeder is the boot server's own peer. A peer
// that has announced itself to another address of the server is told of the seeder
// there: it may not reach the one given here.
func (t *Tracker) Open(infoHash [20]byte, seeder netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.swarms[infoHash] == nil {
		t.swarms[infoHash] = newSwarm(seeder)
	}
}

// Peers counts the peers heard of lately, the seeder not among them.
func (t *Tracker) Peers(infoHash [20]byte) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.swarms[infoHash]
	if s == nil {
		return 0
	}
	s.forget(time.Now())
	return len(s.members)
}

// Suspects are the machines that send wrong bytes, as several others say.
func (t *Tracker) Suspects(now time.Time) []Suspect {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bans.suspects(now)
}

// Some names up to n peers heard of lately for a machine that has yet to
// announce itself: those of its rack, or any if there are none.
func (t *Tracker) Some(infoHash [20]byte, machine netip.Addr, n int) []netip.AddrPort {
	in := t.rackOf(machine)
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.swarms[infoHash]
	if s == nil {
		return nil
	}
	s.forget(time.Now())
	near := s.all
	if r := s.racks[in]; r != nil {
		near = r.members
	}
	return near.some(nil, n, t.random, func(m *member) bool { return m.address.Addr() != machine })
}

// ServeHTTP takes an announce. As with every tracker a refusal is a normal
// answer that holds the reason.
func (t *Tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Cache-Control", "no-store")
	refuse := func(reason string) {
		t.log.Warn("announce refused", "peer", r.RemoteAddr, "err", reason)
		w.Write(announce.Failure(reason))
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		refuse("no source address")
		return
	}
	req, err := announce.Parse(r.URL.Query(), remote.Addr())
	if err != nil {
		refuse(err.Error())
		return
	}
	req.Server = localAddress(r)
	answer, ok := t.Announce(req, time.Now())
	if !ok {
		refuse("this server has no image with that info_hash")
		return
	}
	body, err := answer.Encode()
	if err != nil {
		refuse(err.Error())
		return
	}
	w.Write(body)
}

// localAddress is the address of this server that a request came to.
func localAddress(r *http.Request) netip.Addr {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return at.AddrPort().Addr().Unmap()
}

// Announce takes note of the peer and chooses whom to tell it about. It is not
// ok if there is no such swarm.
func (t *Tracker) Announce(req announce.Request, now time.Time) (answer announce.Response, ok bool) {
	in := t.rackOf(req.Address.Addr())
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.swarms[req.InfoHash]
	if s == nil {
		return announce.Response{}, false
	}
	s.forget(now)
	t.bans.hear(req.Address.Addr(), req.Banned, now)
	switch {
	case req.Address == s.seeder:
		answer.Peers = s.all.some(nil, req.Wanted, t.random, func(*member) bool { return true })
	case req.Event == announce.Stopped:
		if m := s.members[req.Address]; m != nil {
			s.remove(m)
		}
	default:
		if m := s.announced(req, in, now); m != nil {
			seeder := s.seeder
			if req.Server.Is4() {
				seeder = netip.AddrPortFrom(req.Server, seeder.Port())
			}
			answer.Peers = s.choose(m, seeder, req.Wanted, t.random)
		} else { // the tracker is full
			answer.Peers = s.all.some(nil, req.Wanted, t.random, func(*member) bool { return true })
		}
	}
	answer.Interval, answer.MinInterval = interval, minInterval
	answer.Complete, answer.Incomplete = 1+s.complete, len(s.members)-s.complete // the seeder is one
	return answer, true
}
