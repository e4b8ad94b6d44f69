package peerd

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"swarmboot/initramfs/stage"
)

const (
	reportOften  = time.Second      // while the image arrives, and to try again
	reportSeldom = 30 * time.Second // when seeding
	detailEvery  = 5 * time.Second

	// maxTouches keeps the read log below stage.MaxReport.
	maxTouches = 20000
)

// reporter tells the boot server how far the machine is: each stage when it is
// reached, in order and until the server has heard it, and the progress in
// between.
type reporter struct {
	client   *stage.Client
	machine  string
	image    string
	progress func() *stage.Progress
	detail   func() *stage.Detail // nil: there are none
	log      *slog.Logger
	wake     chan struct{} // holds a token when there is a new stage
	detailed time.Time     // when detail was last told; only run's goroutine uses it

	mu     sync.Mutex
	now    stage.Stage    // the furthest stage; guarded by mu, like all below
	unsent []stage.Report // stages that the server has not heard of
}

func newReporter(client *stage.Client, machine, image string, progress func() *stage.Progress, log *slog.Logger) *reporter {
	return &reporter{client: client, machine: machine, image: image, progress: progress, log: log, wake: make(chan struct{}, 1)}
}

// reached notes a new stage. The progress in its report is that of this moment,
// even if it can only be sent later.
func (r *reporter) reached(s stage.Stage, touched ...stage.Touch) {
	report := r.report(s)
	report.Touched = touched[:min(len(touched), maxTouches)]
	r.log.Info("stage reached", "stage", s)

	r.mu.Lock()
	// A small image may be complete before the system is ready.
	if s.Index() > r.now.Index() {
		r.now = s
	}
	r.unsent = append(r.unsent, report)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// stage is the furthest stage reached.
func (r *reporter) stage() stage.Stage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *reporter) report(s stage.Stage) stage.Report {
	return stage.Report{Machine: r.machine, Image: r.image, Stage: s, Progress: r.progress()}
}

// run sends until ctx is done.
func (r *reporter) run(ctx context.Context) {
	pause, heard := reportOften, true
	for {
		timer := time.NewTimer(pause)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Stop()

		err := r.sendAll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && heard { // once per outage
			r.log.Warn("the boot server does not take reports", "err", err)
		}
		heard = err == nil
		pause = reportOften
		if heard && r.stage() == stage.Seeding {
			pause = reportSeldom
		}
	}
}

// tellProgress tells whoever has started peerd how much of the image has come.
func (s *rootServer) tellProgress(ctx context.Context) {
	for sleep(ctx, reportOften) && s.cfg.Progress(*s.progress()) == nil {
	}
}

// sendAll sends the stages not yet heard of or, if there are none, the progress
// and now and then the detail.
func (r *reporter) sendAll(ctx context.Context) error {
	r.mu.Lock()
	unsent := r.unsent
	r.mu.Unlock()
	if len(unsent) == 0 {
		report := r.report(r.stage())
		if now := time.Now(); r.detail != nil && now.Sub(r.detailed) >= detailEvery {
			r.detailed, report.Detail = now, r.detail()
		}
		return r.client.Send(ctx, report)
	}
	for _, report := range unsent {
		if err := r.client.Send(ctx, report); err != nil {
			return err
		}
		r.mu.Lock()
		r.unsent = r.unsent[1:]
		r.mu.Unlock()
	}
	return nil
}
