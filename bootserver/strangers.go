package bootserver

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/initramfs/inventory"
)

// A Stranger is a machine that asked for a boot and is not in the config.
type Stranger struct {
	MAC      string    `json:"mac"`
	Program  string    `json:"program,omitempty"`  // what asked: firmware, iPXE
	Platform string    `json:"platform,omitempty"` // BIOS, UEFI x86-64 and so on
	UUID     string    `json:"uuid,omitempty"`
	First    time.Time `json:"first"` // when it was first heard
	Last     time.Time `json:"last"`
	Asked    int       `json:"asked"` // packets and inventories

	Inventory *inventory.Inventory `json:"inventory,omitempty"` // what it is, where unknown machines are discovered
}

// strangers remembers the unknown machines heard of lately.
type strangers struct {
	mu    sync.Mutex
	known map[string]Stranger // guarded by mu; by MAC
}

// maxStrangers bounds the memory that made-up addresses can take: the one that
// was silent longest is forgotten.
const maxStrangers = 1024

func newStrangers() *strangers { return &strangers{known: map[string]Stranger{}} }

// heard notes a packet of an unknown machine.
func (s *strangers) heard(c dhcp.Client, now time.Time) {
	s.note(c.MAC.String(), now, func(one *Stranger) {
		one.Program, one.Platform, one.UUID = string(c.Program), string(platform(c)), c.UUID
	})
}

// found notes what an unknown machine has told about itself.
func (s *strangers) found(i inventory.Inventory, now time.Time) {
	s.note(i.Machine, now, func(one *Stranger) { one.Inventory = &i })
}

func (s *strangers) note(mac string, now time.Time, change func(*Stranger)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.known[mac]
	if !ok {
		one = Stranger{MAC: mac, First: now}
		if len(s.known) >= maxStrangers {
			oldest := mac
			for other, o := range s.known {
				if was, ok := s.known[oldest]; !ok || o.Last.Before(was.Last) {
					oldest = other
				}
			}
			delete(s.known, oldest)
		}
	}
	one.Last = now
	one.Asked++
	change(&one)
	s.known[mac] = one
}

// list copies all, the last heard first.
func (s *strangers) list() []Stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Stranger{}
	for _, one := range s.known {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Stranger) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.MAC, b.MAC))
	})
	return all
}
