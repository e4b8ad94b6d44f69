package fleet

import (
	"slices"
	"time"

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
func (f *Fleet) stay(at stage.Stage) *Stays {
	if f.stays[at] == nil {
		f.stays[at] = &Stays{Stage: at, Within: make([]uint64, len(StayBounds))}
	}
	return f.stays[at]
}

// Stays tells of all stages that a machine has been at.
func (f *Fleet) Stays() []Stays {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Stays
	for _, stay := range f.stays {
		one := *stay
		one.Within = slices.Clone(stay.Within)
		all = append(all, one)
	}
	return all
}
