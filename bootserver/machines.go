package bootserver

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"swarmboot/initramfs/stage"
)

// MachineStatus is how far one machine has come.
type MachineStatus struct {
	MAC      string                    `json:"mac"`
	Name     string                    `json:"name,omitempty"`
	Image    string                    `json:"image,omitempty"`
	Address  netip.Addr                `json:"address,omitzero"`
	Stage    stage.Stage               `json:"stage,omitempty"`    // empty: never heard of
	Since    time.Time                 `json:"since,omitzero"`     // when it reached Stage
	At       stage.Stage               `json:"at,omitempty"`       // with stage failed: where
	Reason   string                    `json:"reason,omitempty"`   // with stage failed: why
	Progress *stage.Progress           `json:"progress,omitempty"` // the last that peerd told
	AtReady  *stage.Progress           `json:"at_ready,omitempty"` // when ready was first reached
	Times    map[stage.Stage]time.Time `json:"times,omitempty"`    // when each stage of this boot was first reached
	Boots    int                       `json:"boots"`              // since the server was started
	Heard    time.Time                 `json:"heard,omitzero"`     // last sign of life
}

// registry knows how far each machine has come. Within one boot stages never go
// back: reports may overtake each other, and init repeats stages after a
// failure.
type registry struct {
	mu       sync.Mutex
	machines map[string]*machineState // guarded by mu; by MAC
}

type machineState struct {
	MachineStatus
	reached int // the highest index in stage.All of this boot; -1: none
}

func newRegistry() *registry { return &registry{machines: map[string]*machineState{}} }

// add makes a machine known.
func (r *registry) add(mac, name, image string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state(mac, name, image)
}

func (r *registry) state(mac, name, image string) *machineState {
	m := r.machines[mac]
	if m == nil {
		m = &machineState{reached: -1}
		m.MAC, m.Name, m.Image = mac, name, image
		r.machines[mac] = m
	}
	return m
}

// discovered notes that a machine's firmware, or the iPXE in it or after it,
// looks for an address. Firmware runs once in a boot, but repeats its DISCOVER;
// iPXE follows a loader, or is the firmware itself. So it is a new boot if the
// machine had come further than this program can have brought it.
func (r *registry) discovered(mac, name, image string, ipxe bool, now time.Time) (begins bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.state(mac, name, image)
	m.Heard = now
	furthest := stage.DHCP.Index()
	if ipxe {
		furthest = stage.Loader.Index()
	}
	if m.reached >= 0 && m.reached <= furthest {
		return false
	}
	m.Image, m.At, m.Reason, m.Progress, m.AtReady = image, "", "", nil, nil
	m.Stage, m.Since, m.reached = stage.DHCP, now, stage.DHCP.Index()
	m.Times = map[stage.Stage]time.Time{stage.DHCP: now}
	m.Boots++
	return true
}

// heard notes a sign of life.
func (r *registry) heard(mac string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.machines[mac]; m != nil {
		m.Heard = now
	}
}

// report takes note of what a machine says. It tells whether that is news: a
// stage that this boot had not reached, or a failure or its end.
func (r *registry) report(said stage.Report, now time.Time) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.machines[said.Machine]
	if m == nil {
		return false
	}
	m.Heard = now
	if said.Image != "" {
		m.Image = said.Image
	}
	if said.Progress != nil {
		m.Progress = said.Progress
	}
	if m.Times == nil {
		m.Times = map[stage.Stage]time.Time{}
	}
	if said.Stage == stage.Failed {
		news = m.Stage != stage.Failed || m.At != said.At || m.Reason != said.Reason
		if m.Stage != stage.Failed {
			m.Since = now
		}
		m.Stage, m.At, m.Reason = stage.Failed, said.At, said.Reason
		return news
	}
	_, before := m.Times[said.Stage]
	if !before {
		m.Times[said.Stage] = now
		if said.Stage == stage.Ready {
			m.AtReady = m.Progress
		}
	}
	// On a fast network an image is complete before the system is ready. And a
	// failed machine that tries again is past its failure only where it failed.
	index := said.Stage.Index()
	if index < m.reached || m.Stage == stage.Failed && index < m.At.Index() {
		return !before
	}
	m.reached = index
	if m.Stage == said.Stage {
		return false
	}
	m.Stage, m.Since, m.At, m.Reason = said.Stage, now, "", ""
	return true
}

// list copies all, in the order of their names and then of their MACs.
func (r *registry) list() []MachineStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]MachineStatus, 0, len(r.machines))
	for _, m := range r.machines {
		status := m.MachineStatus
		status.Times = maps.Clone(m.Times)
		all = append(all, status) // Progress is replaced as a whole, never changed
	}
	slices.SortFunc(all, func(a, b MachineStatus) int {
		if byName := strings.Compare(a.Name, b.Name); byName != 0 {
			return byName
		}
		return strings.Compare(a.MAC, b.MAC)
	})
	return all
}
