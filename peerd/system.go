package peerd

import (
	"context"
	"os"
	"time"

	"swarmboot/initramfs/stage"
	"swarmboot/peerd/swarm"
)

const (
	lookEvery = 200 * time.Millisecond // how often to look whether the system is ready
	calm      = 30 * time.Second       // a system that has read nothing for so long is not booting any more
)

// watchSystem waits for the system on the root to reach its login. Until then
// the swarm engine holds back what nothing waits for, so that the reads of the
// boot get the whole link; a system that never says it is ready must not keep
// the image from completing, so a long calm counts as well.
//
// Looking for the file does not read the root: it is in a file system in memory
// whose mount point the kernel keeps in mind.
func (s *rootServer) watchSystem(ctx context.Context) {
	ready, full := false, false
	for !ready && sleep(ctx, lookEvery) {
		if _, err := os.Stat(s.cfg.ReadyFile); err == nil {
			ready = true
			s.reporter.reached(stage.Ready, s.store.Touched()...)
		}
		if !full && (ready || s.store.Idle() >= calm) {
			full = true
			s.engine.SetPace(swarm.Full)
		}
	}
}
