package tool

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var discard = slog.New(slog.DiscardHandler)

func TestNeedNamesPackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Need(Mksquashfs, Depmod)
	for _, tool := range []Tool{Mksquashfs, Depmod} {
		if err == nil || !strings.Contains(err.Error(), "apt install "+tool.Package) {
			t.Errorf("Need() = %v; want it to name the package %s", err, tool.Package)
		}
	}
}

func TestRunTellsTheLastWords(t *testing.T) {
	var seen []string
	cmd := exec.Command("sh", "-c", `for i in $(seq 30); do printf "step $i\r"; done; echo no space left >&2; exit 3`)
	err := Run(discard, cmd, func(line string) bool { seen = append(seen, line); return false })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(err.Error(), "step 30\nno space left") {
		t.Errorf("Run = %v; want the exit status and the last words", err)
	}
	if strings.Contains(err.Error(), "step 2\n") {
		t.Errorf("Run = %v; want no more than the last %d lines", err, lastWords)
	}
	if len(seen) != 31 || seen[0] != "step 1" {
		t.Errorf("lines = %q; want all 31", seen)
	}
}

func TestRunTellsOfAFullDisk(t *testing.T) {
	err := Run(discard, exec.Command("sh", "-c", `echo "cp: error writing 'x': No space left on device"; for i in $(seq 30); do echo "step $i"; done; exit 1`), nil)
	if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "step") {
		t.Errorf("Run = %v; want ENOSPC alone", err)
	}
}

func TestRunOnTerminal(t *testing.T) {
	var seen []string
	var log strings.Builder
	cmd := exec.Command("sh", "-c", `test -t 1 || echo no terminal; printf "[=  ] 1/2\r[== ] 2/2\r"; echo bye; exit 3`)
	err := RunOnTerminal(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), cmd, func(line string) bool {
		seen = append(seen, line)
		return strings.HasPrefix(line, "[")
	})
	if want := []string{"[=  ] 1/2", "[== ] 2/2", "bye"}; !slices.Equal(seen, want) {
		t.Errorf("lines = %q; want %q", seen, want)
	}
	if err == nil || !strings.HasSuffix(err.Error(), "its last words:\nbye") {
		t.Errorf("RunOnTerminal = %v; want the last words without the bar", err)
	}
	if said := log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "line=bye") {
		t.Errorf("the log has\n%s; want one line, and none of the bar", said)
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := Run(discard, exec.CommandContext(ctx, "sh", "-c", "echo up; exec sleep 1000"), func(string) bool { cancel(); return false })
	if err == nil || ctx.Err() == nil {
		t.Errorf("Run = %v; want it stopped", err)
	}
}
