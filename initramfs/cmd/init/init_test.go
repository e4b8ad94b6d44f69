package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"swarmboot/initramfs/stage"
)

func TestBackoffDoublesToAMinute(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 6: time.Minute, 7: time.Minute, 1 << 30: time.Minute} {
		for range 20 {
			if got := backoff(failures); got < want*3/4 || got > want*5/4 {
				t.Errorf("backoff(%d) = %v; want %v, a quarter more or less", failures, got, want)
			}
		}
	}
}

func TestGuardTurnsAPanicIntoAnError(t *testing.T) {
	var none []int
	if err := guard(func() error { _ = none[len(none)]; return nil }); err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("guard = %v; want the panic", err)
	}
	want := errors.New("plain")
	if err := guard(func() error { return want }); err != want {
		t.Errorf("guard = %v; want %v", err, want)
	}
}

func TestBannerShowsEveryLineOfTheReason(t *testing.T) {
	got := banner(stage.Report{At: stage.Network, Reason: "no link\ncheck the cable", Machine: "52:54:00:77:00:11"}, "trying again in 4s")
	for _, line := range []string{"##  stage:   network\n", "##  reason:  no link\n##           check the cable\n", "##  machine: 52:54:00:77:00:11\n", "##  next:    trying again in 4s\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("banner is\n%s\nwant %q in it", got, line)
		}
	}
	if strings.Contains(got, "image:") {
		t.Errorf("banner names an image although none is known:\n%s", got)
	}
}

func TestReadyLine(t *testing.T) {
	if err := readyLine("ready"); err != nil {
		t.Errorf("readyLine(ready) = %v; want nil", err)
	}
	for line, want := range map[string]string{"failed: no loop device": "peerd: no loop device", "": "want ready", "readyish": "readyish"} {
		if err := readyLine(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("readyLine(%q) = %v; want %q in it", line, err, want)
		}
	}
}

func TestCompletedReads(t *testing.T) {
	for stat, want := range map[string]int{"     115        0    33792      412        0\n": 115, "": 0, "nonsense": 0} {
		if got := completedReads(stat); got != want {
			t.Errorf("completedReads(%q) = %d; want %d", stat, got, want)
		}
	}
}

func TestFetch(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ten" {
			http.Error(w, "no such machine", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte("0123456789"))
	}))
	defer srv.Close()
	if got, err := fetch(t.Context(), srv.URL+"/ten", 10); err != nil || string(got) != "0123456789" {
		t.Errorf("fetch = %q, %v", got, err)
	}
	if _, err := fetch(t.Context(), srv.URL+"/ten", 9); err == nil || !strings.Contains(err.Error(), "more than 9 bytes") {
		t.Errorf("fetch of too much = %v; want it refused", err)
	}
	if _, err := fetch(t.Context(), srv.URL+"/other", 100); err == nil || !strings.Contains(err.Error(), "no such machine") {
		t.Errorf("fetch = %v; want the server's reason", err)
	}
}

// startShell makes a peerd out of a shell script, which writes to its ready
// pipe as fd 3.
func startShell(t *testing.T, script string) *peerd {
	t.Helper()
	ready, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer tell.Close()
	p := &peerd{ready: ready, ended: make(chan struct{}), cmd: exec.CommandContext(context.Background(), "/bin/sh", "-c", script)}
	p.cmd.ExtraFiles = []*os.File{tell}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	})
	return p
}

func TestWaitReady(t *testing.T) {
	p := startShell(t, `tell() { echo "progress: {\"have\":$1,\"pieces\":9}" >&3; }; tell 1; echo ready >&3; tell 2; exec sleep 60`)
	shown := make(chan int, 2)
	show := func(p stage.Progress, _ time.Time) { shown <- p.Have }
	if err := p.WaitReady(show); err != nil {
		t.Errorf("WaitReady = %v; want nil", err)
	}
	if before, after := <-shown, <-shown; before != 1 || after != 2 {
		t.Errorf("shown are %d and %d pieces; want 1, and after ready 2", before, after)
	}
	if err := p.Ended(); err != nil {
		t.Errorf("Ended() of a living process = %v; want nil", err)
	}
	for script, want := range map[string]string{
		"echo failed: no FUSE >&3": "peerd: no FUSE",
		"exit 3":                   "peerd has ended: exit status 3",
		"kill -9 $$":               "signal: killed",
		"printf ready >&3; exit 0": "", // a last line without its end is still a line
	} {
		err := startShell(t, script).WaitReady(show)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("WaitReady after %q = %v; want %q", script, err, want)
		}
	}
}
