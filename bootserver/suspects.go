package bootserver

import (
	"net/netip"
	"time"
)

// suspect has the seeder serve those last who send wrong bytes, as the tracker has
// heard of several, and tells the admin.
func (s *Server) suspect(now time.Time) {
	var machines []netip.Addr
	for _, one := range s.tracker.Suspects(now) {
		machines = append(machines, one.Machine)
		mac, ok := s.owner(one.Machine)
		if !ok {
			continue
		}
		by := make([]string, len(one.By))
		for i, address := range one.By {
			by[i] = s.nameOf(address)
		}
		if m, news := s.fleet.Banned(mac.String(), by, now); news {
			s.log.Warn("machine is banned by others", "machine", m.MAC, "stage", m.Stage, "image", m.Image, "err", m.Why, "remedy", m.Remedy)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seeder != nil {
		s.seeder.Suspect(machines)
	}
}

// nameOf is what people call the machine that has an address.
func (s *Server) nameOf(address netip.Addr) string {
	mac, ok := s.owner(address)
	if !ok {
		return address.String()
	}
	if m, _, ok := s.machine(mac.HardwareAddr()); ok && m.Name != "" {
		return m.Name
	}
	return mac.String()
}
