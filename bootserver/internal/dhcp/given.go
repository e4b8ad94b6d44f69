package dhcp

import (
	"net/netip"
	"time"
)

// A Given is an address that a machine has been given.
type Given struct {
	MAC     MAC
	Address netip.Addr
	Expires time.Time // may be past: it keeps the address until another needs it
}

// Leases lists what has been given, in no order.
func (s *Server) Leases() []Given { return s.leases.given() }

func (l *leases) given() []Given {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Given
	for mac, entry := range l.byMAC {
		if !entry.Expires.IsZero() {
			all = append(all, Given{mac, entry.Address, entry.Expires})
		}
	}
	return all
}
