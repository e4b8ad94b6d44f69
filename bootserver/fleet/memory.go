package fleet

import (
	"slices"
	"time"
)

// A Memory is what outlasts the server of one machine.
type Memory struct {
	Status MachineStatus `json:"status"`
	Past   []Timeline    `json:"past,omitempty"`
	Listed bool          `json:"listed,omitempty"` // the settings have named it
}

// Unsaved are the machines with news since they were saved, or all that were ever
// heard of. They count as saved then.
func (f *Fleet) Unsaved(all bool) (known []Memory) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.machines {
		if !m.unsaved && (!all || m.Stage == "") {
			continue
		}
		m.unsaved = false
		known = append(known, Memory{Status: m.copy(), Past: slices.Clone(m.past), Listed: m.listed})
	}
	return known
}

// SaveAgain notes that machines were not saved.
func (f *Fleet) SaveAgain(known []Memory) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range known {
		if m := f.machines[one.Status.MAC]; m != nil {
			m.unsaved = true
		}
	}
}

// Recall takes up a machine that a server before this one knew.
func (f *Fleet) Recall(known Memory, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recalled = now
	m := f.record(Machine{known.Status.MAC, known.Status.Name, known.Status.Image})
	m.MachineStatus, m.past, m.listed = known.Status, known.Past, known.Listed
	for at := range m.Times {
		m.reached = max(m.reached, at.Index())
	}
	f.touch(m, now)
}
