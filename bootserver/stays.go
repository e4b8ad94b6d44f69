package bootserver

import (
	"slices"
	"time"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/initramfs/stage"
)

// StayBounds are the upper bounds of the buckets in Stays, in seconds. A stage
// takes from milliseconds to the minutes after which a machine is stuck.
var StayBounds = []float64{.1, .25, .5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500}

// Stays tells how long machines were at a stage before they went on, since the
// server was started.
type Stays struct {
	Stage    stage.Stage
	Count    uint64
	Seconds  float64  // sum
	Within   []uint64 // how many were within each of StayBounds
	Failures uint64   // how many machines failed there
}

func (s *Stays) add(d time.Duration) {
	s.Count++
	s.Seconds += d.Seconds()
	for i, bound := range StayBounds {
		if d.Seconds() <= bound {
			s.Within[i]++
		}
	}
}

// stay is where the stays at a stage are counted. The caller holds mu.
func (r *registry) stay(at stage.Stage) *Stays {
	if r.stays[at] == nil {
		r.stays[at] = &Stays{Stage: at, Within: make([]uint64, len(StayBounds))}
	}
	return r.stays[at]
}

// Stays tells of all stages that a machine has been at.
func (s *Server) Stays() []Stays {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	var all []Stays
	for _, stay := range s.registry.stays {
		one := *stay
		one.Within = slices.Clone(stay.Within)
		all = append(all, one)
	}
	return all
}

// DHCPStats counts packets.
type DHCPStats = dhcp.Stats

// DHCPStats counts the packets of all networks since the server was started.
func (s *Server) DHCPStats() DHCPStats { return s.dhcp.Stats() }
