package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver/fleet"
)

// TestSizing measures what the boot server takes while halls of simulated
// machines boot, and once they are up: what 'docs/operations.md' says of sizes.
// Real machines also fetch pieces from it, which costs network, and processor
// time by the byte (bench-storm).
func TestSizing(t *testing.T) {
	folder := os.Getenv("SWARMBOOT_BENCH")
	if folder == "" {
		t.Skip("takes five minutes; run it by make bench-sizing")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# What a boot server takes\n\nWritten by `make bench-sizing` on %s. Simulated machines, all switched on within 20 s, a boot\n", time.Now().UTC().Format(time.DateOnly))
	b.WriteString("of a minute, one report a second from each, also when it is up: more than real ones send.\n\n")
	b.WriteString("| machines | memory, most | processor seconds until all are up | of one processor afterwards |\n|---|---|---|---|\n")
	for _, machines := range []int{250, 1000} {
		t.Run(fmt.Sprint(machines), func(t *testing.T) {
			h := newHall(t, machines)
			before := processorTime(t, h.server.PID())
			h.powerOn(machines, time.Minute, 20*time.Second, 0)
			h.waitUp(machines)
			booted := processorTime(t, h.server.PID())
			begun := time.Now()
			time.Sleep(20 * time.Second) // what is measured is what happens meanwhile
			share := (processorTime(t, h.server.PID()) - booted).Seconds() / time.Since(begun).Seconds()
			fmt.Fprintf(&b, "| %d | %d MiB | %.1f | %.0f %% |\n", machines, mostMemory(t, h.server.PID())>>20, (booted - before).Seconds(), 100*share)
		})
	}
	write(t, filepath.Join(folder, "sizing.md"), b.String())
}

// waitUp returns when the server says of so many machines that they are up.
func (h *hall) waitUp(machines int) {
	h.t.Helper()
	client := control.NewClient(state.Folder(filepath.Join(h.dir, "state")).Socket())
	deadline := time.After(10 * time.Minute)
	for tick := time.Tick(time.Second); ; {
		list, err := client.Machines(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		up := 0
		for _, m := range list {
			if m.Condition == fleet.Up {
				up++
			}
		}
		if up >= machines {
			return
		}
		select {
		case <-tick:
		case <-deadline:
			h.t.Fatalf("%d of %d machines are up after ten minutes", up, machines)
		}
	}
}

// processorTime is what a process has used of all processors; a tick is 10 ms.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name may have blanks in it
	fields := strings.Fields(after)
	ticks := 0
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// mostMemory is the most that a process has had in memory, in bytes.
func mostMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
