// Package journal keeps what the log says for those who have no log at hand: the
// last lines about each machine, for 'swarmboot machine log' and the machine's
// page, and for ever, in a file, who changed what (Audit, audit.go).
//
// Both are slog handlers that cmd/swarmboot puts beside the one that writes the
// log itself.
package journal

import (
	"bytes"
	"container/list"
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
	last     uint64                   // guarded by mu
	machines map[string]*list.Element // guarded by mu; of heard, by MAC
	heard    *list.List               // guarded by mu; of *machineLines, first who was not heard of for longest
	scratch  bytes.Buffer             // guarded by mu
}

// machineLines are those about one machine, the oldest first.
type machineLines struct {
	mac   string
	lines []Line
}

// New returns an empty journal.
func New() *Journal {
	l := &lines{machines: map[string]*list.Element{}, heard: list.New()}
	return &Journal{lines: l, format: slog.NewTextHandler(&l.scratch, nil)}
}

// After gives the lines about the machine with this MAC that came after line
// number last, the oldest first. Line 0 was before all.
func (l *lines) After(mac string, last uint64) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Line
	if known := l.machines[mac]; known != nil {
		all = known.Value.(*machineLines).lines
	}
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

// Handle keeps r, if it is about a machine. The log of a hall that is powered on
// goes through here, so what is kept is cut out of what the format writes anyway.
func (j *Journal) Handle(ctx context.Context, r slog.Record) error {
	mac := j.machine
	plain := slog.NewRecord(time.Time{}, r.Level, "", 0)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "machine" {
			mac = a.Value.Resolve().String()
		} else {
			plain.AddAttrs(a)
		}
		return true
	})
	if mac == "" {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.scratch.Reset()
	if err := j.format.Handle(ctx, plain); err != nil {
		return err
	}
	_, attrs, _ := strings.Cut(j.scratch.String(), ` msg=""`)
	text := r.Message + strings.TrimRight(attrs, "\n")
	j.last++
	m := j.of(mac)
	if len(m.lines) == keptLines {
		m.lines = slices.Delete(m.lines, 0, 1)
	}
	m.lines = append(m.lines, Line{j.last, r.Time, r.Level.String(), strings.ToValidUTF8(text[:min(len(text), maxLine)], "�")})
	return nil
}

// of finds the lines about a machine that is heard of now, and forgets those about
// another if need be. The caller holds mu.
func (l *lines) of(mac string) *machineLines {
	if known := l.machines[mac]; known != nil {
		l.heard.MoveToBack(known)
		return known.Value.(*machineLines)
	}
	if oldest := l.heard.Front(); len(l.machines) == maxMachines {
		delete(l.machines, oldest.Value.(*machineLines).mac)
		l.heard.Remove(oldest)
	}
	m := &machineLines{mac: mac}
	l.machines[mac] = l.heard.PushBack(m)
	return m
}

// WithAttrs returns a handler for records that have attrs besides.
func (j *Journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *j
	var rest []slog.Attr
	for _, a := range attrs {
		if a.Key == "machine" {
			with.machine = a.Value.Resolve().String()
		} else {
			rest = append(rest, a)
		}
	}
	with.format = j.format.WithAttrs(rest)
	return &with
}

// WithGroup returns a handler for records whose attributes are in a group.
func (j *Journal) WithGroup(name string) slog.Handler {
	with := *j
	with.format = j.format.WithGroup(name)
	return &with
}
