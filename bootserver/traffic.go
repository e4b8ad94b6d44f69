package bootserver

import (
	"context"
	"sync"
	"time"

	"swarmboot/initramfs/stage"
)

// count adds what a machine has got from others since it last told. The sum only
// grows: a machine that boots anew counts from zero, what it had got before
// stays. The caller holds mu.
func (r *registry) count(image string, before, now *stage.Progress) {
	if before == nil || now.FromPeers < before.FromPeers {
		before = &stage.Progress{}
	}
	r.fromPeers[image] += now.FromPeers - before.FromPeers
}

// countBoot adds what a machine has sent of an image's kernel and initramfs.
func (r *registry) countBoot(image string, sent int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bootFromPeers[image] += sent
}

// bootGiven tells how much of it the machines have had from each other.
func (r *registry) bootGiven(image string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bootFromPeers[image]
}

// given tells how many bytes the machines of an image have had from each other.
func (r *registry) given(image string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fromPeers[image]
}

// keptSeconds is how far back Throughput goes.
const keptSeconds = 600

// Throughput is how fast the machines of one image were given it, in bytes in
// each second, the last second last.
type Throughput struct {
	Image  string    `json:"image"`
	Last   time.Time `json:"last"`   // end of the last second
	Server []int64   `json:"server"` // sent by this server, over BitTorrent and HTTP
	Peers  []int64   `json:"peers"`  // by other machines, as the receivers tell
}

// meter keeps the throughput of each image.
type meter struct {
	mu     sync.Mutex
	totals map[string][2]int64   // guarded by mu; bytes of server and peers at the last sample
	kept   map[string]Throughput // guarded by mu
}

func newMeter() *meter { return &meter{totals: map[string][2]int64{}, kept: map[string]Throughput{}} }

// sample notes the totals of all images, a second after those before.
func (m *meter) sample(swarms []SwarmStatus, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range swarms {
		total := [2]int64{s.SeederBytes + s.HTTPBytes, s.PeerBytes}
		before, known := m.totals[s.Image]
		if !known {
			before = total
		}
		m.totals[s.Image] = total
		t := m.kept[s.Image]
		t.Image, t.Last = s.Image, now
		t.Server = last(append(t.Server, total[0]-before[0]))
		t.Peers = last(append(t.Peers, total[1]-before[1]))
		m.kept[s.Image] = t
	}
}

func last(seconds []int64) []int64 { return seconds[max(0, len(seconds)-keptSeconds):] }

// of is the throughput of an image, a copy.
func (m *meter) of(image string) Throughput {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.kept[image]
	t.Server, t.Peers = append([]int64{}, t.Server...), append([]int64{}, t.Peers...)
	return t
}

// watch looks at machines and swarms once a second until ctx is done.
func (s *Server) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, m := range s.registry.look(now) {
				if m.Condition == Stuck || m.Condition == Silent {
					s.log.Warn("machine is "+string(m.Condition), "machine", m.MAC, "stage", m.Stage, "image", m.Image, "err", m.Why)
				}
			}
			s.meter.sample(s.Swarms(), now)
		}
	}
}
