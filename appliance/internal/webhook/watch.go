package webhook

import (
	"slices"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

// seen is what was known of a machine at the last look.
type seen struct {
	times  map[stage.Stage]time.Time
	failed time.Time // zero: it has not
}

// news finds the stages that machines have reached since known, in the order in
// which they did, and brings known up to date. A stage that was passed between
// two looks is among them.
func news(known map[string]seen, changed []fleet.MachineStatus) (events []Event) {
	for _, m := range changed {
		before := known[m.MAC]
		now := seen{times: m.Times}
		tell := func(s stage.Stage, at time.Time) {
			about := Machine{MAC: m.MAC, Name: m.Name, Rack: m.Rack, Group: m.Group, Image: m.Image, Stage: s}
			if s == stage.Failed {
				about.At, about.Reason = m.At, m.Reason
			}
			events = append(events, Event{Type: "machine." + string(s), Time: at.UTC(), Machine: about, stage: s})
		}
		for s, at := range m.Times {
			if !before.times[s].Equal(at) {
				tell(s, at)
			}
		}
		if m.Stage == stage.Failed {
			if now.failed = m.Since; !before.failed.Equal(m.Since) {
				tell(stage.Failed, m.Since)
			}
		}
		known[m.MAC] = now
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return events
}
