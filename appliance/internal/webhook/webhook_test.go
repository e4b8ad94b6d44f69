package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

// The example of the specification (standardwebhooks.com).
func TestSign(t *testing.T) {
	secret, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("sign = %s; want %s", got, want)
	}
}

func TestNews(t *testing.T) {
	began := time.Unix(1800000000, 0)
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	known := map[string]seen{}
	look := func(m fleet.MachineStatus) (types []string) {
		m.MAC = "52:54:00:77:00:01"
		for _, e := range news(known, []fleet.MachineStatus{m}) {
			types = append(types, e.Type)
		}
		return types
	}
	for i, c := range []struct {
		m    fleet.MachineStatus
		want string
	}{
		{fleet.MachineStatus{Stage: stage.DHCP, Times: map[stage.Stage]time.Time{stage.DHCP: at(0)}}, "machine.dhcp"},
		{fleet.MachineStatus{Stage: stage.Kernel, Times: map[stage.Stage]time.Time{stage.DHCP: at(0), stage.Kernel: at(2), stage.Script: at(1)}}, "machine.script machine.kernel"},
		{fleet.MachineStatus{Stage: stage.Failed, Since: at(3), Times: map[stage.Stage]time.Time{stage.DHCP: at(0), stage.Kernel: at(2), stage.Script: at(1)}}, "machine.failed"},
		{fleet.MachineStatus{Stage: stage.Failed, Since: at(3), Times: map[stage.Stage]time.Time{stage.DHCP: at(0), stage.Kernel: at(2), stage.Script: at(1)}}, ""},
		{fleet.MachineStatus{Stage: stage.DHCP, Times: map[stage.Stage]time.Time{stage.DHCP: at(9)}}, "machine.dhcp"}, // it boots again
	} {
		if got := strings.Join(look(c.m), " "); got != c.want {
			t.Errorf("look %d: %q; want %q", i, got, c.want)
		}
	}
}

// hall is a Source of one machine that reaches stages.
type hall struct {
	mu      sync.Mutex
	machine fleet.MachineStatus // guarded by mu
	changes uint64              // guarded by mu
}

func (h *hall) reach(s stage.Stage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	times := map[stage.Stage]time.Time{}
	for k, v := range h.machine.Times {
		times[k] = v
	}
	times[s] = time.Now()
	h.machine.MAC, h.machine.Stage, h.machine.Times = "52:54:00:77:00:01", s, times
	h.changes++
}

func (h *hall) MachinesSince(last uint64) (changed []fleet.MachineStatus, removed []string, now uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if last >= h.changes {
		return nil, nil, h.changes
	}
	return []fleet.MachineStatus{h.machine}, nil, h.changes
}

// receiver is a program elsewhere, which takes nothing while it is away.
type receiver struct {
	mu    sync.Mutex // guards all
	away  bool
	tries int
	ids   []string
	told  []string
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.ids = append(r.ids, req.Header.Get("webhook-id"))
	if r.away {
		return nil, errors.New("connection refused")
	}
	want := sign([]byte("0123456789abcdef"), req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp"), body)
	var event Event
	if err := json.Unmarshal(body, &event); err != nil || req.Header.Get("webhook-signature") != want {
		return &http.Response{StatusCode: http.StatusUnauthorized, Status: "401", Body: http.NoBody}, nil
	}
	r.told = append(r.told, event.Type)
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody}, nil
}

func (r *receiver) goAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

// heard tells what has been tried and told so far.
func (r *receiver) heard() (tries int, ids, told []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries, slices.Clone(r.ids), slices.Clone(r.told)
}

func TestDeliveryIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		queue, done := make(chan Event, 8), make(chan struct{})
		there := &receiver{away: true}
		var log strings.Builder
		go func() {
			defer close(done)
			deliver(ctx, &http.Client{Transport: there}, Hook{Name: "x", URL: "http://x/", Secret: []byte("0123456789abcdef")}, queue, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		queue <- Event{Type: "machine.ready", stage: stage.Ready}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if tries, _, _ := there.heard(); tries != 4 { // after 0, 1, 3 and 7 seconds
			t.Errorf("%d tries in 10 s; want 4", tries)
		}
		there.goAway(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, ids, told := there.heard(); !slices.Equal(told, []string{"machine.ready"}) || len(slices.Compact(ids)) != 1 {
			t.Errorf("told %v with IDs %v; want it once, and the same ID at each try", told, ids)
		}
		there.goAway(true)
		queue <- Event{Type: "machine.failed", stage: stage.Failed}
		time.Sleep(giveUp + 2*maxPause)
		synctest.Wait()
		tries, _, _ := there.heard()
		time.Sleep(time.Hour)
		cancel()
		<-done
		if later, _, _ := there.heard(); later != tries || !strings.Contains(log.String(), "given up") {
			t.Errorf("%d more tries after giving up; log:\n%s", later-tries, &log)
		}
	})
}

func TestRunTellsWhatIsNew(t *testing.T) {
	there := &receiver{}
	synctest.Test(t, func(t *testing.T) {
		transport := http.DefaultTransport
		http.DefaultTransport = there
		defer func() { http.DefaultTransport = transport }()
		h := &hall{}
		h.reach(stage.DHCP) // before the server's start
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Run(ctx, h, []Hook{{Name: "x", URL: "http://x/", Secret: []byte("0123456789abcdef"), Stages: []stage.Stage{stage.DHCP, stage.Ready}}}, slog.New(slog.DiscardHandler))
		}()
		time.Sleep(time.Second)
		h.reach(stage.Kernel)
		h.reach(stage.Ready)
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !slices.Equal(there.told, []string{"machine.ready"}) {
			t.Errorf("told %v; want machine.ready alone", there.told)
		}
	})
}

func TestReadSecret(t *testing.T) {
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string // in the error
	}{
		{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", 0o600, ""}, {"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0o640, ""},
		{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0o644, "chmod 640"}, {"c2hvcnQ=", 0o600, "16 bytes"}, {"no base64 at all!", 0o600, "openssl"},
	} {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		secret, err := ReadSecret(file)
		if c.want == "" && (err != nil || len(secret) != 24) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("ReadSecret of %q, mode %o = %d bytes, %v; want %q", c.text, c.mode, len(secret), err, c.want)
		}
	}
}
