package bootserver

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/images"
)

// What is known of machines is kept beside their leases, so that a server that was
// restarted still shows them. News of them is written every few seconds: stages
// and failures. That a machine was heard, and how many pieces it has, is written
// when the server stops: thousands of machines would wear the disk by it.

const (
	saveEvery   = 5 * time.Second
	forgetAfter = 30 * 24 * time.Hour // of silence, a machine that is not listed
)

// A memory is a machine as it is stored, as JSON.
type memory struct {
	Status MachineStatus `json:"status"`
	Past   []Timeline    `json:"past,omitempty"`
	Script *script       `json:"script,omitempty"` // the last that it was sent
}

// A script is a running as it is stored.
type script struct {
	Image images.Ref `json:"image"`
	Args  []string   `json:"args"`
}

// remember stores what is known of the machines until ctx is done, and then once
// more all of it.
func (s *Server) remember(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	failing := false
	for done := false; !done; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			done = true
		}
		err := s.save(done)
		if err != nil && !failing {
			s.log.Error("how far machines have come is not stored; a restarted server would not know it", "err", err)
		}
		failing = err != nil
	}
	return nil
}

// save stores the machines that have news, or all. What fails is tried again.
func (s *Server) save(all bool) error {
	known := map[[6]byte][]byte{}
	for mac, m := range s.registry.unsaved(all) {
		if told, ok := s.runs(m.Status.MAC); ok {
			m.Script = &script{told.image, told.args}
		}
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		known[mac] = data
	}
	if len(known) == 0 {
		return nil
	}
	err := s.leases.Remember(known)
	if err != nil {
		s.registry.saveAgain(known)
	}
	return err
}

// recall takes up what a server before this one has stored.
func (s *Server) recall(now time.Time) {
	known, err := s.leases.States()
	if err != nil {
		s.log.Error("it is not known how far machines have come", "err", err)
		return
	}
	forgotten := map[[6]byte][]byte{}
	for mac, data := range known {
		name := dhcp.MAC(mac).String()
		var m memory
		if err := json.Unmarshal(data, &m); err != nil || m.Status.MAC != name {
			s.log.Warn("what was stored of a machine was left out", "machine", name, "err", err)
			continue
		}
		if _, listed := s.site.Load().machines[name]; !listed && now.Sub(m.Status.Heard) > forgetAfter {
			forgotten[mac] = nil
			continue
		}
		s.registry.recall(m, now)
		if m.Script != nil {
			s.boots(name, running{m.Script.Image, m.Script.Args})
		}
	}
	if err := s.leases.Remember(forgotten); err != nil {
		s.log.Warn("machines that were not heard for a month are still stored", "err", err)
	}
}

// unsaved are the machines with news since they were saved, or all that were ever
// heard of. They count as saved then.
func (r *registry) unsaved(all bool) map[dhcp.MAC]memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[dhcp.MAC]memory{}
	for name, m := range r.machines {
		var mac dhcp.MAC
		if !m.unsaved && (!all || m.Stage == "") || mac.UnmarshalText([]byte(name)) != nil {
			continue
		}
		m.unsaved = false
		known[mac] = memory{Status: m.copy(), Past: slices.Clone(m.past)}
	}
	return known
}

// saveAgain notes that machines were not saved.
func (r *registry) saveAgain(macs map[[6]byte][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for mac := range macs {
		if m := r.machines[dhcp.MAC(mac).String()]; m != nil {
			m.unsaved = true
		}
	}
}

// recall takes up a machine that a server before this one knew.
func (r *registry) recall(known memory, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recalled = now
	m := r.state(known.Status.MAC, known.Status.Name, known.Status.Image)
	m.MachineStatus, m.past = known.Status, known.Past
	for at := range m.Times {
		m.reached = max(m.reached, at.Index())
	}
	r.touch(m, now)
}
