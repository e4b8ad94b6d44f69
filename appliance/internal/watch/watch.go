// Package watch is 'swarmboot machine watch': all machines on the whole screen of
// a terminal, those that need somebody first, and one of them in detail when it
// is asked for.
//
// Run (this file) listens to the boot server and hands what it hears to screen
// (screen.go), which is a pure function of what came before: view.go draws it.
package watch

import (
	"context"
	"errors"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/journal"
	"swarmboot/bootserver/fleet"

	tea "charm.land/bubbletea/v2"
)

// A Source tells of machines; control.Client is one.
type Source interface {
	Events(ctx context.Context, machines func(api.MachinesEvent), removed func(api.RemovedEvent), swarms func(api.SwarmsEvent)) error
	Machine(ctx context.Context, mac string) (fleet.MachineDetail, error)
	Log(ctx context.Context, mac string, last uint64) ([]journal.Line, error)
}

// again is when a lost connection is tried again.
const again = 2 * time.Second

// Run shows what source tells until the user ends it or ctx is done.
func Run(ctx context.Context, source Source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	program := tea.NewProgram(newScreen(ctx, source), tea.WithContext(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		listen(ctx, source, program.Send)
	}()
	_, err := program.Run()
	cancel()
	<-done
	if errors.Is(err, context.Canceled) || errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// listen sends what source tells until ctx is done. A connection that is lost is
// made again, and begins with everything.
func listen(ctx context.Context, source Source, send func(tea.Msg)) {
	for ctx.Err() == nil {
		first := true
		err := source.Events(ctx, func(e api.MachinesEvent) {
			send(heard{e, first})
			first = false
		}, func(e api.RemovedEvent) { send(e) }, func(e api.SwarmsEvent) { send(e) })
		if err != nil {
			send(lost{err})
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

// What the screen is told.
type (
	heard struct {
		machines []fleet.MachineStatus
		all      bool // there are no others
	}
	lost   struct{ err error }
	moment time.Time
	looked struct { // at one machine
		detail fleet.MachineDetail
		log    []journal.Line
		err    error
	}
)

// tick tells the screen what time it is, each second.
func tick() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return moment(t) })
}

// look asks for all about one machine.
func look(ctx context.Context, source Source, mac string) tea.Cmd {
	return func() tea.Msg {
		d, err := source.Machine(ctx, mac)
		if err != nil {
			return looked{err: err}
		}
		log, err := source.Log(ctx, mac, 0)
		return looked{d, log, err}
	}
}
