// Package journal keeps what the log says for those who have no log at hand: the
// last lines about each machine, for 'swarmboot machine log' and the machine's
// page, and for ever, in a file, who changed what (Audit, audit.go).
//
// Both are slog handlers that cmd/swarmboot puts beside the one that writes the
// log itself.
package journal

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	keptLines = 128  // of each machine: about four boots
	maxLine   = 2048 // bytes
	// maxMachines bounds the machines: whoever floods the network with made-up
	// addresses must not fill the memory.
	maxMachines = 8192
)

// A Line is one line of the log about a machine.
type Line struct {
	Number uint64    `json:"number"` // grows with each line of any machine
	Time   time.Time `json:"time"`
	Level  string    `json:"level" enum:"DEBUG,INFO,WARN,ERROR"`
	Text   string    `json:"text"` // the message, then its attributes as key=value
}

// A Journal remembers the last lines about each machine. It is a slog.Handler:
// a record belongs to the machine that its attribute "machine" names.
type Journal struct {
	*lines
	machine string
	format  slog.Handler // writes attributes into scratch
}

// lines are shared by a Journal and all that With has made of it.
type lines struct {
	mu       sync.Mutex
	last     uint64            // guarded by mu
	machines map[string][]Line // guarded by mu; by MAC, the oldest first
	scratch  bytes.Buffer      // guarded by mu
}

// New returns an empty journal.
func New() *Journal {
	l := &lines{machines: map[string][]Line{}}
	plain := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey || a.Key == "machine") {
			return slog.Attr{}
		}
		return a
	}
	return &Journal{lines: l, format: slog.NewTextHandler(&l.scratch, &slog.HandlerOptions{ReplaceAttr: plain})}
}

// After gives the lines about the machine with this MAC that came after line
// number last, the oldest first. Line 0 was before all.
func (l *lines) After(mac string, last uint64) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.machines[mac]
	first, _ := slices.BinarySearchFunc(all, last+1, func(line Line, n uint64) int {
		if line.Number < n {
			return -1
		}
		return 1
	})
	return append([]Line{}, all[first:]...)
}

// Enabled is true from level info on.
func (j *Journal) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle keeps r, if it is about a machine.
func (j *Journal) Handle(ctx context.Context, r slog.Record) error {
	mac := j.machine
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "machine" {
			mac = a.Value.Resolve().String()
		}
		return true
	})
	if mac == "" {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.scratch.Reset()
	if err := j.format.Handle(ctx, r); err != nil {
		return err
	}
	text := strings.TrimSpace(r.Message + " " + strings.TrimSpace(j.scratch.String()))
	all := j.machines[mac]
	if all == nil && len(j.machines) >= maxMachines {
		j.forgetOne()
	}
	if len(all) == keptLines {
		all = slices.Delete(all, 0, 1)
	}
	j.last++
	j.machines[mac] = append(all, Line{j.last, r.Time, r.Level.String(), strings.ToValidUTF8(text[:min(len(text), maxLine)], "�")})
	return nil
}

// forgetOne drops the machine that was heard of least lately. The caller holds
// mu.
func (l *lines) forgetOne() {
	var oldest string
	number := l.last + 1
	for mac, all := range l.machines {
		if n := all[len(all)-1].Number; n < number {
			oldest, number = mac, n
		}
	}
	delete(l.machines, oldest)
}

// WithAttrs returns a handler for records that have attrs besides.
func (j *Journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *j
	for _, a := range attrs {
		if a.Key == "machine" {
			with.machine = a.Value.Resolve().String()
		}
	}
	with.format = j.format.WithAttrs(attrs)
	return &with
}

// WithGroup returns a handler for records whose attributes are in a group.
func (j *Journal) WithGroup(name string) slog.Handler {
	with := *j
	with.format = j.format.WithGroup(name)
	return &with
}
