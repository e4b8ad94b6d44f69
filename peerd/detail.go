package peerd

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"swarmboot/initramfs/stage"
	"swarmboot/peerd/swarm"
)

// rates finds out how fast peers give and take, from what they had given and taken
// when they were last looked at.
type rates struct {
	at     time.Time
	before map[netip.Addr]swarm.Connection
}

// peers are the connections with their rates since the last call, those that bring
// most first, and no more than may be told.
func (r *rates) peers(connections []swarm.Connection, now time.Time) []stage.Peer {
	passed, seen := now.Sub(r.at).Seconds(), make(map[netip.Addr]swarm.Connection, len(connections))
	var all []stage.Peer
	for _, c := range connections {
		seen[c.Peer] = c
		p := stage.Peer{Address: c.Peer, Server: c.Seeder, Far: c.Far, Received: c.Received, Sent: c.Sent}
		if before, known := r.before[c.Peer]; known && passed > 0 {
			p.Down = int64(float64(max(0, c.Received-before.Received)) / passed) // less than before: it is another connection
			p.Up = int64(float64(max(0, c.Sent-before.Sent)) / passed)
		}
		all = append(all, p)
	}
	r.at, r.before = now, seen
	slices.SortFunc(all, func(a, b stage.Peer) int {
		return cmp.Or(cmp.Compare(b.Received, a.Received), cmp.Compare(b.Sent, a.Sent), a.Address.Compare(b.Address))
	})
	return all[:min(len(all), stage.MaxPeers)]
}

// detail tells what is told of now and then. Only the reporter's goroutine calls it.
func (s *rootServer) detail() *stage.Detail {
	d := &stage.Detail{Peers: s.rates.peers(s.engine.connections(), time.Now())}
	if have := s.store.Have(); slices.Contains(have, false) {
		d.Have = stage.BitMap(len(have), func(piece int) bool { return have[piece] })
	}
	if s.reporter.stage().Index() < stage.Ready.Index() {
		d.Console = stage.Console()
	}
	return d
}
