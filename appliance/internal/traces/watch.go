package traces

import (
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"

	"go.opentelemetry.io/otel/trace"
)

// watch finds the boots that end.
type watch struct {
	tracer trace.Tracer
	known  map[string]known // by MAC; nil before the first look
}

// known is a boot as it was at the last look.
type known struct {
	fleet.MachineStatus
	boot *fleet.Timeline
	told stage.Stage // the end that the collector was told of: seeding or failed; empty: none
}

// look tells of the boots that have ended since the last look. What had ended
// before the first one is no news.
func (w *watch) look(changed []fleet.MachineStatus, now time.Time) {
	first := w.known == nil
	if first {
		w.known = map[string]known{}
	}
	for _, m := range changed {
		before := w.known[m.MAC]
		is := known{MachineStatus: m, boot: m.Timeline()}
		switch {
		case is.boot == nil:
			continue
		case before.boot != nil && before.boot.Began.Equal(is.boot.Began):
			is.told = before.told
		case before.boot != nil && before.told == "":
			w.tell(before, is.boot.Began) // another boot has begun before it came to an end
		}
		if end := ending(m); end != "" && end != is.told && is.told != stage.Seeding {
			is.told = end
			if !first {
				w.tell(is, now)
			}
		}
		w.known[m.MAC] = is
	}
}

// ending is how a boot has ended; empty while it goes on. A machine that has failed
// tries again by itself, so that it may be told of twice.
func ending(m fleet.MachineStatus) stage.Stage {
	switch _, whole := m.Times[stage.Seeding]; {
	case m.Stage == stage.Failed:
		return stage.Failed
	case whole && m.Stage.Index() >= stage.Ready.Index(): // a small image is complete before the login
		return stage.Seeding
	}
	return ""
}
