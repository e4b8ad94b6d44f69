// Package tracker tells peers of the same image about each other (BEP 3).
//
// It tracks only swarms that the boot server has opened (Open), and puts the
// server's own seeder first in each answer: it is the one peer that surely has
// every piece. bootserver.Server is its only caller; the words on the wire are
// peerd/announce's.
package tracker

import (
	"log/slog"
	"math/rand/v2"
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
	log *slog.Logger

	mu     sync.Mutex
	swarms map[[20]byte]*swarm // guarded by mu
}

type swarm struct {
	seeder netip.AddrPort
	peers  map[netip.AddrPort]peer
}

type peer struct {
	heard    time.Time
	complete bool
}

// New returns a tracker without swarms.
func New(log *slog.Logger) *Tracker {
	return &Tracker{log: log, swarms: map[[20]byte]*swarm{}}
}

// Open lets peers announce infoHash; seeder is the boot server's own peer.
func (t *Tracker) Open(infoHash [20]byte, seeder netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.swarms[infoHash] == nil {
		t.swarms[infoHash] = &swarm{seeder: seeder, peers: map[netip.AddrPort]peer{}}
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
	return len(s.peers)
}

// Some names up to n peers heard of lately, chosen at random.
func (t *Tracker) Some(infoHash [20]byte, n int) []netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.swarms[infoHash]
	if s == nil {
		return nil
	}
	s.forget(time.Now())
	peers := s.others(netip.AddrPort{})
	return peers[:min(n, len(peers))]
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
	answer, ok := t.announce(req, time.Now())
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

// announce takes note of the peer and chooses whom to tell it about.
func (t *Tracker) announce(req announce.Request, now time.Time) (announce.Response, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.swarms[req.InfoHash]
	if s == nil {
		return announce.Response{}, false
	}
	s.forget(now)
	_, known := s.peers[req.Address]
	switch {
	case req.Event == announce.Stopped:
		delete(s.peers, req.Address)
	case req.Address != s.seeder && (known || len(s.peers) < maxPeers):
		s.peers[req.Address] = peer{heard: now, complete: req.Left == 0}
	}

	answer := announce.Response{Interval: interval, MinInterval: minInterval, Complete: 1} // the seeder
	for _, p := range s.peers {
		if p.complete {
			answer.Complete++
		} else {
			answer.Incomplete++
		}
	}
	if req.Event == announce.Stopped {
		return answer, true
	}
	others := s.others(req.Address)
	if req.Address != s.seeder {
		others = append([]netip.AddrPort{s.seeder}, others...)
	}
	answer.Peers = others[:min(req.Wanted, len(others))]
	return answer, true
}

// others are all peers but one, in random order.
func (s *swarm) others(than netip.AddrPort) []netip.AddrPort {
	others := make([]netip.AddrPort, 0, len(s.peers))
	for address := range s.peers {
		if address != than {
			others = append(others, address)
		}
	}
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return others
}

// forget drops the peers that were silent for too long.
func (s *swarm) forget(now time.Time) {
	for address, p := range s.peers {
		if now.Sub(p.heard) > silence {
			delete(s.peers, address)
		}
	}
}
