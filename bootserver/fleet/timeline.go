package fleet

import (
	"slices"
	"time"

	"swarmboot/initramfs/stage"
)

// keptBoots bounds how many past boots of a machine are remembered.
const keptBoots = 16

// A Timeline is one boot of one machine: when it reached each stage.
type Timeline struct {
	Began  time.Time             `json:"began"`            // first packet of its firmware
	Image  string                `json:"image"`            // name@version
	Stages map[stage.Stage]int64 `json:"stages"`           // milliseconds from Began until the stage was reached
	Failed stage.Stage           `json:"failed,omitempty"` // where it ended, if it did not get further
	Reason string                `json:"reason,omitempty"` // why
}

// MachineDetail is all that is known of one machine.
type MachineDetail struct {
	MachineStatus
	Boot    *Timeline  `json:"boot,omitempty"`    // this one
	Past    []Timeline `json:"past"`              // those before it, the last first
	Typical *Timeline  `json:"typical,omitempty"` // the median of the last boots of its image, on all machines
	Sample  int        `json:"sample"`            // how many boots Typical is made of

	Inside *stage.Detail `json:"inside,omitempty"` // pieces, peers and console, as it told last in this boot
	Hot    []byte        `json:"hot,omitempty"`    // bit map of the pieces that recorded boots of its image have read, as in Inside
}

// Timeline is the boot that m is in; nil before the first.
func (m MachineStatus) Timeline() *Timeline {
	if len(m.Times) == 0 {
		return nil
	}
	began := time.Time{}
	for _, t := range m.Times { // after a restart of the server the first stage may be any
		if began.IsZero() || t.Before(began) {
			began = t
		}
	}
	b := &Timeline{Began: began, Image: m.Image, Stages: map[stage.Stage]int64{}}
	for s, t := range m.Times {
		b.Stages[s] = t.Sub(began).Milliseconds()
	}
	if m.Stage == stage.Failed {
		b.Failed, b.Reason = m.At, m.Reason
	}
	return b
}

// archive puts the boot that ends now among the past ones.
func (m *record) archive() {
	b := m.Timeline()
	if b == nil {
		return
	}
	m.past = append(m.past, *b)
	if surplus := len(m.past) - keptBoots; surplus > 0 {
		m.past = slices.Delete(m.past, 0, surplus)
	}
}

// whole tells whether a boot was seen from its first packet to its login.
func (b Timeline) whole() bool {
	_, begun := b.Stages[stage.DHCP]
	_, ready := b.Stages[stage.Ready]
	return begun && ready
}

// Earlier names the images, other than image, that a machine has booted, the last
// first.
func (f *Fleet) Earlier(mac, image string) (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[mac]
	if m == nil {
		return nil
	}
	for _, b := range slices.Backward(m.past) {
		if b.Image != image && b.Image != "" && !slices.Contains(names, b.Image) {
			names = append(names, b.Image)
		}
	}
	return names
}

// Detail copies all that is known of mac.
func (f *Fleet) Detail(mac string) (MachineDetail, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[mac]
	if m == nil {
		return MachineDetail{}, false
	}
	d := MachineDetail{MachineStatus: m.copy(), Boot: m.Timeline(), Past: slices.Clone(m.past), Inside: m.inside}
	slices.Reverse(d.Past)
	if d.Past == nil {
		d.Past = []Timeline{}
	}
	var others []Timeline
	for _, other := range f.machines {
		for _, b := range other.past {
			if b.Image == m.Image {
				others = append(others, b)
			}
		}
		if b := other.Timeline(); b != nil && other != m && b.Image == m.Image {
			others = append(others, *b)
		}
	}
	d.Typical, d.Sample = typical(others)
	return d, true
}

// typical is the median of the last whole boots: for each stage, the time at
// which half of those that reached it had done so.
func typical(boots []Timeline) (*Timeline, int) {
	const last = 200
	boots = slices.DeleteFunc(boots, func(b Timeline) bool { return !b.whole() })
	if len(boots) == 0 {
		return nil, 0
	}
	slices.SortFunc(boots, func(a, b Timeline) int { return b.Began.Compare(a.Began) })
	boots = boots[:min(len(boots), last)]
	median := &Timeline{Began: boots[0].Began, Image: boots[0].Image, Stages: map[stage.Stage]int64{}}
	for _, s := range stage.All {
		var times []int64
		for _, b := range boots {
			if t, ok := b.Stages[s]; ok {
				times = append(times, t)
			}
		}
		if len(times) > 0 {
			slices.Sort(times)
			median.Stages[s] = times[len(times)/2]
		}
	}
	return median, len(boots)
}
