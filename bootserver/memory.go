package bootserver

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"swarmboot/bootserver/fleet"
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
	fleet.Memory
	Script *script `json:"script,omitempty"` // the last that it was sent
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
	unsaved := s.fleet.Unsaved(all)
	if len(unsaved) == 0 {
		return nil
	}
	known := make(map[[6]byte][]byte, len(unsaved))
	for _, one := range unsaved {
		m := memory{Memory: one}
		if told, ok := s.runs(m.Status.MAC); ok {
			m.Script = &script{told.image, told.args}
		}
		var mac dhcp.MAC
		data, err := json.Marshal(m)
		if err := errors.Join(err, mac.UnmarshalText([]byte(m.Status.MAC))); err != nil {
			return err
		}
		known[mac] = data
	}
	err := s.leases.Remember(known)
	if err != nil {
		s.fleet.SaveAgain(unsaved)
	}
	return err
}

// forget removes from the store machines that were removed.
func (s *Server) forget(machines []string) {
	forgotten := map[[6]byte][]byte{}
	for _, name := range machines {
		s.log.Info("machine is forgotten: it is in the settings no more, and nothing is heard of it", "machine", name)
		var mac dhcp.MAC
		if mac.UnmarshalText([]byte(name)) == nil {
			forgotten[mac] = nil
		}
	}
	if len(forgotten) == 0 {
		return
	}
	if err := s.leases.Remember(forgotten); err != nil {
		s.log.Warn("machines that are in the settings no more are still stored", "err", err)
	}
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
		s.fleet.Recall(m.Memory, now)
		if m.Script != nil {
			s.boots(name, running{m.Script.Image, m.Script.Args})
		}
	}
	if err := s.leases.Remember(forgotten); err != nil {
		s.log.Warn("machines that were not heard for a month are still stored", "err", err)
	}
}
