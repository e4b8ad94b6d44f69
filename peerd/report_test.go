package peerd

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/initramfs/stage"
)

// reportServer takes reports without a network, so that time can be a bubble's.
type reportServer struct {
	mu      sync.Mutex
	down    bool
	reports []stage.Report
}

func (s *reportServer) RoundTrip(r *http.Request) (*http.Response, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	report, err := stage.Decode(data)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusServiceUnavailable
	if !s.down {
		s.reports = append(s.reports, report)
		status = http.StatusNoContent
	}
	return &http.Response{StatusCode: status, Body: http.NoBody}, nil
}

// details counts the reports since the last take that have one.
func (s *reportServer) details() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reports {
		if r.Detail != nil {
			n++
		}
	}
	return n
}

func (s *reportServer) setDown(down bool) { s.mu.Lock(); defer s.mu.Unlock(); s.down = down }

// take returns the stages heard since the last call.
func (s *reportServer) take() (stages []stage.Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reports {
		stages = append(stages, r.Stage)
	}
	s.reports = nil
	return stages
}

func reporting(t *testing.T, story func(*reporter, *reportServer, *stage.Progress)) {
	synctest.Test(t, func(t *testing.T) {
		server, progress := &reportServer{}, &stage.Progress{Pieces: 9}
		client := &stage.Client{Server: "http://boot", HTTP: &http.Client{Transport: server}}
		r := newReporter(client, "52:54:00:00:00:01", "lab@1", func() *stage.Progress { p := *progress; return &p }, slog.New(slog.DiscardHandler))
		r.detail = func() *stage.Detail { return &stage.Detail{Console: []string{"a line"}} }
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		r.reached(stage.Swarm)
		wg.Go(func() { r.run(ctx) })
		synctest.Wait()
		if got := server.take(); !slices.Equal(got, []stage.Stage{stage.Swarm}) {
			t.Errorf("reports = %v; want swarm", got)
		}
		story(r, server, progress)
		cancel()
		wg.Wait()
	})
}

func TestProgressIsReportedOftenUntilSeeding(t *testing.T) {
	reporting(t, func(r *reporter, server *reportServer, _ *stage.Progress) {
		time.Sleep(10*time.Second + time.Millisecond)
		if got := server.details(); got != 2 {
			t.Errorf("%d details in 10 s; want 2", got)
		}
		if got := server.take(); len(got) != 10 || got[0] != stage.Swarm {
			t.Errorf("reports in 10 s = %v; want 10 of swarm", got)
		}
		r.reached(stage.Seeding)
		synctest.Wait()
		server.take()
		time.Sleep(10*time.Minute + time.Millisecond)
		if got := server.take(); len(got) != 20 {
			t.Errorf("%d reports in 10 minutes of seeding; want 20", len(got))
		}
	})
}

func TestStagesOutliveAnOutageOfTheServer(t *testing.T) {
	reporting(t, func(r *reporter, server *reportServer, progress *stage.Progress) {
		server.setDown(true)
		progress.Have = 4
		r.reached(stage.Ready, stage.Touch{Piece: 5, Millis: 17})
		time.Sleep(time.Minute)
		progress.Have = 9
		r.reached(stage.Complete)
		server.setDown(false)
		time.Sleep(2 * time.Second)
		server.mu.Lock()
		ready := server.reports[0]
		server.mu.Unlock()
		if ready.Progress.Have != 4 || len(ready.Touched) != 1 || ready.Touched[0].Millis != 17 {
			t.Errorf("ready was reported with %+v; want the progress and the read log of that moment", ready)
		}
		if got := server.take(); !slices.Equal(got[:2], []stage.Stage{stage.Ready, stage.Complete}) || slices.Contains(got[1:], stage.Ready) {
			t.Errorf("reports = %v; want ready and complete, each once, first", got)
		}
	})
}

func TestReadyAfterCompleteDoesNotTakeTheStageBack(t *testing.T) {
	reporting(t, func(r *reporter, server *reportServer, _ *stage.Progress) {
		r.reached(stage.Complete)
		r.reached(stage.Ready)
		synctest.Wait()
		if got := server.take(); !slices.Contains(got, stage.Ready) || r.stage() != stage.Complete {
			t.Errorf("reports = %v, stage %s; want ready reported and the machine complete", got, r.stage())
		}
	})
}
