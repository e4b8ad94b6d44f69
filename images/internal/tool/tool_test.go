package tool

import (
	"context"
	"log/slog"
	"os/exec"
	"strings"
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
	err := Run(discard, cmd, func(line string) { seen = append(seen, line) })
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

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := Run(discard, exec.CommandContext(ctx, "sh", "-c", "echo up; exec sleep 1000"), func(string) { cancel() })
	if err == nil || ctx.Err() == nil {
		t.Errorf("Run = %v; want it stopped", err)
	}
}
