// Package fleet knows how far each machine has come, from the first packet of its
// firmware to its login and on, and tells how it fares.
//
// What machines say is a stage.Report; what else is seen of them (a DHCP request,
// a sign of life) has a method of its own. A Fleet owns all of it: what leaves it
// are copies. A word travels Fleet.Report (fleet.go), to the timeline of the boot
// (timeline.go), to how long machines stay at a stage (stays.go); and
// Fleet.Look asks judge (health.go), once a second, who is stuck or silent.
//
// bootserver.Server fills one; what is behind the admin (pages, API, commands,
// metrics) reads what it tells.
package fleet

import (
	"maps"
	"math/bits"
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
	Rack     string                    `json:"rack,omitempty"`
	Group    string                    `json:"group,omitempty"`
	Image    string                    `json:"image,omitempty"`
	Address  netip.Addr                `json:"address,omitzero"`
	Stage    stage.Stage               `json:"stage,omitempty"`     // empty: never heard of
	Since    time.Time                 `json:"since,omitzero"`      // when it reached Stage
	At       stage.Stage               `json:"at,omitempty"`        // with stage failed: where
	Reason   string                    `json:"reason,omitempty"`    // with stage failed: why
	Progress *stage.Progress           `json:"progress,omitempty"`  // the last that peerd told
	AtReady  *stage.Progress           `json:"at_ready,omitempty"`  // when ready was first reached
	Times    map[stage.Stage]time.Time `json:"times,omitempty"`     // when each stage of this boot was first reached
	Boots    int                       `json:"boots"`               // that were seen
	Heard    time.Time                 `json:"heard,omitzero"`      // last sign of life
	Install  *stage.Install            `json:"install,omitempty"`   // how the last installation on its disk has ended
	Override *Override                 `json:"override,omitempty"`  // what it boots in place of the settings' image; never changed
	BannedBy []string                  `json:"banned_by,omitempty"` // machines that have refused its pieces in this boot, as they were not what was signed; never changed
	Health
}

// A Fleet knows how far each machine has come. Within one boot stages never go
// back: reports may overtake each other, and init repeats stages after a
// failure.
type Fleet struct {
	mu            sync.Mutex
	machines      map[string]*record     // guarded by mu; by MAC
	removed       map[string]uint64      // guarded by mu; by MAC, what changes was when a machine was removed
	changes       uint64                 // guarded by mu; counts the changes of all machines
	fromPeers     map[string]int64       // guarded by mu; bytes that machines had from each other, by image
	fromFar       map[string]int64       // guarded by mu; of these, from rack to rack
	bootFromPeers map[string]int64       // guarded by mu; likewise, of kernel and initramfs
	stays         map[stage.Stage]*Stays // guarded by mu
	recalled      time.Time              // guarded by mu; when a restarted server took up what it knew
}

// record is what the fleet knows of one machine.
type record struct {
	MachineStatus
	reached int           // the highest index in stage.All of this boot; -1: none
	changed uint64        // what Fleet.changes was at its last change
	past    []Timeline    // the boots before this one, the oldest first
	unsaved bool          // it has come further since it was saved
	listed  bool          // the settings have named it
	out     bool          // and do no more
	inside  *stage.Detail // the last that it told in this boot; nil: none
}

// New is a fleet of which nothing is known.
func New() *Fleet {
	return &Fleet{machines: map[string]*record{}, removed: map[string]uint64{}, fromPeers: map[string]int64{}, fromFar: map[string]int64{}, bootFromPeers: map[string]int64{}, stays: map[stage.Stage]*Stays{}}
}

// touch notes that m has changed. The caller holds mu.
func (f *Fleet) touch(m *record, now time.Time) {
	f.changes++
	m.changed = f.changes
	m.Health = f.judge(m, now)
}

// judge tells how m fares.
func (f *Fleet) judge(m *record, now time.Time) Health {
	status := m.MachineStatus
	status.Heard = f.heard(m)
	return judge(status, now)
}

// heard is since when m is silent. While the server was down it could not hear
// machines.
func (f *Fleet) heard(m *record) time.Time {
	if m.Heard.Before(f.recalled) {
		return f.recalled
	}
	return m.Heard
}

// Machine is what the config says of one.
type Machine struct {
	MAC   string
	Name  string // empty: it has none
	Image string // name@version
}

// Add makes a machine known.
func (f *Fleet) Add(one Machine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record(one)
}

// Expect makes the listed machines known. Those that are listed no more are removed:
// at once if they were never heard of, else by Look when they have fallen silent.
func (f *Fleet) Expect(listed []Machine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	macs := make(map[string]bool, len(listed))
	for _, one := range listed {
		macs[one.MAC] = true
		m := f.record(one)
		if m.Stage == "" || m.Stage == stage.Discovered { // the image of one that has booted is what it runs
			m.Image = one.Image
		}
		m.Name, m.listed, m.out = one.Name, true, false
		f.touch(m, time.Now())
	}
	for mac, m := range f.machines {
		switch {
		case macs[mac]:
		case m.Stage == "":
			f.remove(mac)
		default:
			m.out = m.listed
			f.touch(m, time.Now()) // it stands in no rack now
		}
	}
}

// remove forgets a machine. The caller holds mu.
func (f *Fleet) remove(mac string) {
	delete(f.machines, mac)
	f.changes++
	f.removed[mac] = f.changes
}

// record is what is known of one, as of now. The caller holds mu.
func (f *Fleet) record(one Machine) *record {
	m := f.machines[one.MAC]
	if m == nil {
		m = &record{reached: -1}
		m.MAC, m.Name, m.Image = one.MAC, one.Name, one.Image
		f.machines[one.MAC] = m
		delete(f.removed, one.MAC)
		f.touch(m, time.Time{})
	}
	return m
}

// Discovered notes that a machine's firmware, or the iPXE in it or after it,
// looks for an address. Firmware runs once in a boot, but repeats its DISCOVER;
// iPXE follows a loader, or is the firmware itself. So it is a new boot if the
// machine had come further than this program can have brought it.
func (f *Fleet) Discovered(one Machine, ipxe bool, now time.Time) (begins bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.record(one)
	defer func() { f.touch(m, now) }()
	m.Heard = now
	furthest := stage.DHCP.Index()
	if ipxe {
		furthest = stage.Loader.Index()
	}
	if m.reached >= 0 && m.reached <= furthest {
		return false
	}
	m.begin(one.Image, stage.DHCP, now)
	return true
}

// begin begins a new boot at a stage.
func (m *record) begin(image string, at stage.Stage, now time.Time) {
	m.archive()
	if m.reached >= stage.Script.Index() && m.reached < stage.Init.Index() {
		m.Install = nil // the last boot did not start Linux; if it was from the disk, that is at fault
	}
	m.Image, m.At, m.Reason, m.Progress, m.AtReady, m.inside, m.BannedBy = image, "", "", nil, nil, nil, nil
	m.Stage, m.Since, m.reached = at, now, at.Index()
	m.Times = map[stage.Stage]time.Time{at: now}
	m.Boots++
	if m.Override != nil && !m.overridden() {
		m.Override = nil // it was for the boot before
	}
	m.unsaved = true
}

// beginsByScript tells whether a script that m asks for is the first of a boot,
// and not one more attempt of its loader.
func (m *record) beginsByScript() bool {
	return m.reached < 0 || m.reached > stage.Kernel.Index()
}

// Reaches tells whether mac has come as far as s in the boot that it is in.
func (f *Fleet) Reaches(mac string, s stage.Stage) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[mac]
	return m != nil && m.reached >= s.Index()
}

// Heard notes a sign of life.
func (f *Fleet) Heard(mac string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.machines[mac]; m != nil {
		m.Heard = now
		f.touch(m, now)
	}
}

// Report takes note of what a machine says. It tells whether that is news: a
// stage that this boot had not reached, or a failure or its end.
func (f *Fleet) Report(said stage.Report, now time.Time) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[said.Machine]
	if m == nil {
		return false
	}
	defer func() {
		m.unsaved = m.unsaved || news
		f.touch(m, now)
	}()
	m.Heard = now
	// Where DHCP is another server's, a boot is first heard of when a loader asks for
	// its script.
	if said.Stage == stage.Script && m.beginsByScript() {
		m.begin(said.Image, said.Stage, now)
		return true
	}
	if said.Image != "" {
		m.Image = said.Image
	}
	if said.Install != nil {
		m.Install, m.unsaved = said.Install, true
	}
	if said.Progress != nil {
		f.count(m.Image, m.Progress, said.Progress)
		m.Progress = said.Progress
	}
	if said.Detail != nil {
		m.inside = said.Detail
	}
	if m.Times == nil {
		m.Times = map[stage.Stage]time.Time{}
	}
	if said.Stage == stage.Failed {
		if said.At == stage.Kernel {
			m.Install = nil // a disk that does not start is installed anew
		}
		news = m.Stage != stage.Failed || m.At != said.At || m.Reason != said.Reason
		if m.Stage != stage.Failed {
			m.Since = now
			f.stay(said.At).Failures++
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
	if m.Stage.Index() >= 0 {
		f.stay(m.Stage).add(now.Sub(m.Since))
	}
	m.Stage, m.Since, m.At, m.Reason = said.Stage, now, "", ""
	return true
}

// Banned notes which machines, by name, refuse what mac sends; it holds until its
// next boot. It tells whether that is the first word of it, and what there is to
// say.
func (f *Fleet) Banned(mac string, by []string, now time.Time) (m MachineStatus, news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.machines[mac]
	if r == nil || slices.Equal(r.BannedBy, by) {
		return m, false
	}
	news = r.BannedBy == nil
	r.BannedBy = by
	f.touch(r, now)
	return r.copy(), news
}

// Refused is how many pieces a machine says that it has refused in this boot, if
// that is worth a word: at the first, and whenever they have doubled.
func (f *Fleet) Refused(said stage.Report) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[said.Machine]
	if m == nil || said.Progress == nil {
		return 0
	}
	before := 0
	if m.Progress != nil {
		before = m.Progress.Rejected
	}
	if now := said.Progress.Rejected; bits.Len(uint(now)) > bits.Len(uint(before)) {
		return now
	}
	return 0
}

// List copies all, in the order of their names and then of their MACs.
func (f *Fleet) List() []MachineStatus {
	all, _, _ := f.Since(0)
	return all
}

// Since copies the machines that have changed after the change numbered last,
// in the order of their names and then of their MACs, names the MACs of those that
// were removed, and gives the number of the last change. Change 0 was before all
// machines.
func (f *Fleet) Since(last uint64) (changed []MachineStatus, removed []string, now uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed = []MachineStatus{}
	for _, m := range f.machines {
		if m.changed > last {
			changed = append(changed, m.copy())
		}
	}
	for mac, at := range f.removed {
		if last > 0 && at > last {
			removed = append(removed, mac)
		}
	}
	slices.Sort(removed)
	slices.SortFunc(changed, func(a, b MachineStatus) int {
		if byName := strings.Compare(a.Name, b.Name); byName != 0 {
			return byName
		}
		return strings.Compare(a.MAC, b.MAC)
	})
	return changed, removed, f.changes
}

// copy is what may leave the registry. Progress is replaced as a whole, never
// changed.
func (m *record) copy() MachineStatus {
	status := m.MachineStatus
	status.Times = maps.Clone(m.Times)
	return status
}

// Look judges all machines anew: time alone makes a machine stuck or silent. It
// returns those whose condition is another now, and the MACs of those that it has
// removed, as they were taken out of the settings and are heard no more.
func (f *Fleet) Look(now time.Time) (news []MachineStatus, removed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for mac, m := range f.machines {
		switch {
		case m.out && now.Sub(f.heard(m)) > silence:
			f.remove(mac)
			removed = append(removed, mac)
		case f.judge(m, now).Condition != m.Condition:
			f.touch(m, now)
			news = append(news, m.copy())
		}
	}
	return news, removed
}

// Installed is the digest of what mac has on its disk; empty if nothing.
func (f *Fleet) Installed(mac string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.machines[mac]; m != nil && m.Install != nil {
		return m.Install.Digest
	}
	return ""
}
