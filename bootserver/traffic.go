package bootserver

import (
	"context"
	"sync"
	"time"

	"swarmboot/bootserver/fleet"
)

// keptSeconds is how far back Throughput goes.
const keptSeconds = 600

// Throughput is how fast the machines of one image were given it, in bytes in
// each second, the last second last.
type Throughput struct {
	Image  string    `json:"image"`
	Last   time.Time `json:"last"`   // end of the last second
	Server []int64   `json:"server"` // sent by this server, over BitTorrent and HTTP
	Peers  []int64   `json:"peers"`  // by other machines, as the receivers tell
	Far    []int64   `json:"far"`    // of these, from rack to rack
}

// meter keeps the throughput of each image.
type meter struct {
	mu     sync.Mutex
	totals map[string][3]int64   // guarded by mu; bytes of server, peers and those from rack to rack, at the last sample
	kept   map[string]Throughput // guarded by mu
}

func newMeter() *meter { return &meter{totals: map[string][3]int64{}, kept: map[string]Throughput{}} }

// sample notes the totals of all images, a second after those before.
func (m *meter) sample(swarms []SwarmStatus, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range swarms {
		total := [3]int64{s.SeederBytes + s.HTTPBytes, s.PeerBytes, s.FarBytes}
		before, known := m.totals[s.Image]
		if !known {
			before = total
		}
		m.totals[s.Image] = total
		t := m.kept[s.Image]
		t.Image, t.Last = s.Image, now
		t.Server = last(append(t.Server, total[0]-before[0]))
		t.Peers = last(append(t.Peers, total[1]-before[1]))
		t.Far = last(append(t.Far, total[2]-before[2]))
		m.kept[s.Image] = t
	}
}

func last(seconds []int64) []int64 { return seconds[max(0, len(seconds)-keptSeconds):] }

// of is the throughput of an image, a copy.
func (m *meter) of(image string) Throughput {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.kept[image]
	for _, seconds := range []*[]int64{&t.Server, &t.Peers, &t.Far} {
		*seconds = append([]int64{}, *seconds...)
	}
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
			news, removed := s.fleet.Look(now)
			for _, m := range news {
				if m.Condition == fleet.Stuck || m.Condition == fleet.Silent {
					s.log.Warn("machine is "+string(m.Condition), "machine", m.MAC, "stage", m.Stage, "image", m.Image, "err", m.Why)
				}
			}
			s.forget(removed)
			s.suspect(now)
			s.meter.sample(s.Swarms(), now)
		}
	}
}
