package tftp

import (
	"net/netip"
	"time"
)

// A transfer goes to one port of a machine, which stands for one conversation (RFC
// 1350 section 4).
type transfer struct {
	ended    chan struct{}
	whole    bool // all was sent; to be read after ended
	repeated bool // guarded by Server.mu; the request has come again, which is being thought about
}

// claim begins the transfer to a port. It does not while another one goes there: a
// machine that was not answered at once asks again, and of two answers to one
// question the second would only disturb the first.
//
// UEFI that has asked for the size aborts, and may ask for the file from the same
// port before the abort is seen here. So a repeated request waits for as long as
// the transfer repeats its own packets.
func (s *Server) claim(port netip.AddrPort) (t *transfer, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.ports[port]; before != nil {
		if before.repeated {
			return nil, false
		}
		before.repeated = true
		s.mu.Unlock()
		aborted := before.abortedWithin(timeout)
		s.mu.Lock()
		if before.repeated = false; !aborted || s.ports[port] != nil {
			return nil, false
		}
	}
	t = &transfer{ended: make(chan struct{})}
	s.ports[port] = t
	return t, true
}

// free ends what claim has begun.
func (s *Server) free(port netip.AddrPort, t *transfer) {
	s.mu.Lock()
	delete(s.ports, port)
	s.mu.Unlock()
	close(t.ended)
}

// abortedWithin waits for the end of a transfer.
func (t *transfer) abortedWithin(d time.Duration) bool {
	select {
	case <-t.ended:
		return !t.whole
	case <-time.After(d):
		return false
	}
}
