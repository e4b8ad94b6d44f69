package bootserver

import (
	"swarmboot/images"
)

// running is what a machine was told to run by its last script.
type running struct {
	image images.Ref
	args  []string // of its kernel
}

// maxRunning bounds what strangers can make the server remember.
const maxRunning = 1 << 16

// boots remembers what mac was told.
func (s *Server) boots(mac string, what running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.running[mac]; known || len(s.running) < maxRunning {
		s.running[mac] = what
	}
}

// runs is what mac was told; ok is false after a restart of the server.
func (s *Server) runs(mac string) (what running, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what, ok = s.running[mac]
	return what, ok
}

// booted is the image whose kernel m runs: that of the last script that it was
// sent, or, after a restart of the server, what the config has for it.
func (s *Server) booted(m Machine) images.Ref {
	if now, ok := s.runs(m.MAC.String()); ok {
		return now.image
	}
	return m.Image
}
