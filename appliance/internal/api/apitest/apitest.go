// Package apitest has a boot server that knows what it is told, for tests of the
// API and of those who ask it.
package apitest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/settings"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/mirror"
	"swarmboot/images"
	"swarmboot/images/catalogue"
)

// A Server is an api.Source and an api.Doer.
type Server struct {
	Config   api.Settings
	Known    []fleet.MachineStatus
	Nets     []bootserver.NetworkStatus
	Swarm    []bootserver.SwarmStatus
	Store    mirror.OriginStatus
	Unlisted []bootserver.Stranger
	Lines    []journal.Line
	Versions []string    // of the image lab
	Board    power.Board // without machines at first

	mu      sync.Mutex
	tags    map[images.Ref]images.Ref // guarded by mu
	adopted []settings.Adoption       // guarded by mu
}

func (s *Server) Settings() api.Settings { return s.Config }
func (s *Server) Machines() []fleet.MachineStatus {
	return append([]fleet.MachineStatus{}, s.Known...)
}
func (s *Server) Networks() []bootserver.NetworkStatus {
	return append([]bootserver.NetworkStatus{}, s.Nets...)
}
func (s *Server) Swarms() []bootserver.SwarmStatus {
	return append([]bootserver.SwarmStatus{}, s.Swarm...)
}
func (s *Server) Strangers() []bootserver.Stranger {
	return append([]bootserver.Stranger{}, s.Unlisted...)
}
func (s *Server) Leases() []bootserver.Lease { return []bootserver.Lease{} }

func (s *Server) Images() ([]bootserver.ImageStatus, error) {
	return []bootserver.ImageStatus{}, nil
}

func (s *Server) Origin() mirror.OriginStatus { return s.Store }

func (s *Server) Throughput(image string) bootserver.Throughput {
	return bootserver.Throughput{Image: image, Server: []int64{1}, Peers: []int64{2}, Far: []int64{1}}
}

// MachinesSince knows one change, the first.
func (s *Server) MachinesSince(last uint64) (changed []fleet.MachineStatus, removed []string, now uint64) {
	if last > 0 {
		return nil, nil, 1
	}
	return s.Machines(), nil, 1
}

func (s *Server) Machine(mac string) (fleet.MachineDetail, bool) {
	for _, m := range s.Known {
		if m.MAC == mac {
			return fleet.MachineDetail{MachineStatus: m, Past: []fleet.Timeline{}}, true
		}
	}
	return fleet.MachineDetail{}, false
}

func (s *Server) Log(_ string, after uint64) []journal.Line {
	return append([]journal.Line{}, slices.DeleteFunc(slices.Clone(s.Lines), func(l journal.Line) bool { return l.Number <= after })...)
}

// Adopt refuses a machine that it has adopted before.
func (s *Server) Adopt(a settings.Adoption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.adopted, func(b settings.Adoption) bool { return b.MAC.String() == a.MAC.String() }) {
		return fmt.Errorf("%w: machine %s", settings.ErrListed, a.MAC)
	}
	s.adopted = append(s.adopted, a)
	return nil
}

// Adopted are the machines that were adopted.
func (s *Server) Adopted() []settings.Adoption {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.adopted)
}

// Tag knows the versions of lab that Versions names.
func (s *Server) Tag(_ context.Context, tag, to images.Ref) (now, before images.Ref, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to.Name != "lab" || !slices.Contains(s.Versions, to.Version) {
		return now, before, fmt.Errorf("image %s: %w", to, catalogue.ErrNotFound)
	}
	if s.tags == nil {
		s.tags = map[images.Ref]images.Ref{}
	}
	before = s.tags[tag]
	s.tags[tag] = to
	return to, before, nil
}

func (s *Server) Untag(_ context.Context, tag images.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tags[tag]; !ok {
		return fmt.Errorf("tag %s: %w", tag, catalogue.ErrNotFound)
	}
	delete(s.tags, tag)
	return nil
}

// Power asks Board.
func (s *Server) Power(ctx context.Context, mac string) (power.State, error) {
	return s.Board.Power(ctx, mac)
}

// Switch tells Board.
func (s *Server) Switch(ctx context.Context, mac string, a power.Action, network bool) error {
	return s.Board.Switch(ctx, mac, a, network)
}

// Override knows the machines of Known and the versions of Tag.
func (s *Server) Override(mac string, to images.Ref, stays bool) (fleet.Override, error) {
	if _, ok := s.Machine(mac); !ok {
		return fleet.Override{}, fmt.Errorf("machine %s %w", mac, bootserver.ErrUnlisted)
	}
	if to.Name != "lab" || !slices.Contains(s.Versions, to.Version) {
		return fleet.Override{}, fmt.Errorf("image %s: %w", to, catalogue.ErrNotFound)
	}
	return fleet.Override{Image: to.String(), Stays: stays}, nil
}

// Rollback finds the first of Versions, if there are two.
func (s *Server) Rollback(mac string) (fleet.Override, error) {
	if len(s.Versions) < 2 {
		return fleet.Override{}, fmt.Errorf("machine %s %w", mac, bootserver.ErrNoRollback)
	}
	return s.Override(mac, images.Ref{Name: "lab", Version: s.Versions[0]}, true)
}

func (s *Server) Release(mac string) error {
	_, err := s.Override(mac, images.Ref{Name: "lab", Version: s.Versions[0]}, false)
	return err
}

// Tags are the tags and what they stand for.
func (s *Server) Tags() map[images.Ref]images.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.tags)
}
