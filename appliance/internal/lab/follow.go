package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"swarmboot/appliance/internal/table"
	"swarmboot/appliance/internal/vm"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"

	"golang.org/x/term"
)

// When a machine counts as lost. A failing machine tries again by itself, and an
// emulated one is slow but always does something.
const (
	failedFor = 2 * time.Minute
	stillFor  = 4 * time.Minute
)

// follow shows the machines until each of them seeds or is lost, and then what
// it took. A lost machine is an error that tells what is known about it.
func (l *Lab) follow(ctx context.Context, machines []machine) error {
	watched := make(map[string]*watch)
	for _, m := range machines {
		watched[m.MAC()] = &watch{machine: m, changed: time.Now()}
	}
	begun := time.Now()
	settled, stop := context.WithCancel(ctx)
	defer stop()
	err := table.Live(settled, l.interval(), l.out, func(ctx context.Context, w io.Writer) error {
		list, err := l.client.Machines(ctx)
		if err != nil {
			return err
		}
		swarms, err := l.client.Swarms(ctx)
		if err != nil {
			return err
		}
		for _, status := range list {
			if m := watched[status.MAC]; m != nil {
				m.status = status
			}
		}
		open := 0
		for _, m := range watched {
			if m.look(l.consoleSize(m.machine), time.Now()) {
				open++
			}
		}
		if open == 0 {
			defer stop()
		}
		fmt.Fprintf(w, "%v since power-on\n", time.Since(begun).Truncate(time.Second))
		return errors.Join(table.Machines(w, list), table.Swarms(w, swarms))
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	return l.conclude(machines, watched)
}

func (l *Lab) conclude(machines []machine, watched map[string]*watch) error {
	swarms, err := l.client.Swarms(context.Background())
	if err != nil {
		return err
	}
	var list []fleet.MachineStatus
	var errs []error
	for _, m := range machines {
		w := watched[m.MAC()]
		list = append(list, w.status)
		if w.lost != "" {
			console := filepath.Join(l.folder(m), "console.log")
			errs = append(errs, fmt.Errorf("%s %s; the last words of its console:\n%s", m.Name(), w.lost, vm.LogTail(console, 15)))
		}
	}
	fmt.Fprintln(l.out)
	summary(l.out, list, swarms)
	return errors.Join(errs...)
}

// A watch is one machine as it is seen from time to time.
type watch struct {
	machine machine
	status  fleet.MachineStatus
	lost    string // why it counts as lost

	sign    string // of life: changes as long as the machine does something
	changed time.Time
}

// look tells whether there is anything more to come from the machine.
func (w *watch) look(consoleSize int64, now time.Time) bool {
	have := 0
	if p := w.status.Progress; p != nil {
		have = p.Have
	}
	if sign := fmt.Sprint(w.status.Stage, w.status.Since, have, consoleSize); sign != w.sign {
		w.sign, w.changed = sign, now
	}
	w.lost = ""
	switch {
	case w.status.Stage == stage.Seeding:
		return false
	case w.status.Stage == stage.Failed && now.Sub(w.status.Since) > failedFor:
		w.lost = fmt.Sprintf("has failed at %s: %s", w.status.At, w.status.Reason)
	case now.Sub(w.changed) > stillFor && w.status.Stage == "":
		w.lost = "has not been heard of by the boot server"
	case now.Sub(w.changed) > stillFor:
		w.lost = fmt.Sprintf("stands still at %s", w.status.Stage)
	}
	return w.lost == ""
}

// consoleSize is how much the machine has said so far.
func (l *Lab) consoleSize(m machine) int64 {
	info, err := os.Stat(filepath.Join(l.folder(m), "console.log"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// interval between two looks: what is no terminal keeps each of them.
func (l *Lab) interval() time.Duration {
	if term.IsTerminal(int(l.out.Fd())) {
		return time.Second
	}
	return 15 * time.Second
}
