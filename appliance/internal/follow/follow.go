// Package follow looks at intervals for machines that have changed. Whoever tells
// others of machines (webhook, traces) calls it.
package follow

import (
	"context"
	"time"

	"swarmboot/bootserver/fleet"
)

// A Source tells of machines that have changed; bootserver.Server is one.
type Source interface {
	MachinesSince(last uint64) (changed []fleet.MachineStatus, removed []string, now uint64)
}

// Machines calls look with all machines, and then, so often, with those that have
// changed, until ctx is done.
func Machines(ctx context.Context, source Source, every time.Duration, look func([]fleet.MachineStatus)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := uint64(0); ; {
		var changed []fleet.MachineStatus
		changed, _, last = source.MachinesSince(last)
		look(changed)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
