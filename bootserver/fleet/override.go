package fleet

import (
	"time"

	"swarmboot/initramfs/stage"
)

// An Override is an image that a machine boots in place of the one that the
// settings name.
type Override struct {
	Image string `json:"image"` // name@version
	Stays bool   `json:"stays"` // at each boot, until it is taken back; else at one boot alone
	// Boot is the boot that it was for, as MachineStatus counts them; 0: it is for
	// the next one, or stays.
	Boot int `json:"boot"`
}

// SetOverride has a machine boot an image in place of its own; nil takes it back.
func (f *Fleet) SetOverride(to Machine, o *Override) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.record(to)
	m.Override, m.unsaved = o, true
	f.touch(m, time.Now())
}

// Override is the image that mac boots in place of its own; empty if none.
func (f *Fleet) Override(mac string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.machines[mac]; m != nil && m.overridden() {
		return m.Override.Image
	}
	return ""
}

// overridden tells whether the override holds for the boot that m is in, or, once
// Linux runs, for its next one.
func (m *record) overridden() bool {
	o := m.Override
	return o != nil && (o.Stays || o.Boot == 0 || o.Boot == m.nextScript())
}

// nextScript is the number of the boot that a script belongs to, if one is sent
// now.
func (m *record) nextScript() int {
	if m.beginsByScript() {
		return m.Boots + 1
	}
	return m.Boots
}

// UseOverride notes that a script has named the override of mac.
func (f *Fleet) UseOverride(mac string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[mac]
	if m == nil || !m.overridden() || m.Override.Stays || m.Override.Boot != 0 {
		return
	}
	used := *m.Override // copies of the old one have left the registry
	used.Boot = m.nextScript()
	m.Override, m.unsaved = &used, true
	f.touch(m, time.Now())
}

// RanBefore is the last image, other than that of this boot, with which mac has
// reached its login; empty if none is remembered.
func (f *Fleet) RanBefore(mac string) string {
	d, _ := f.Detail(mac)
	for _, b := range d.Past {
		if _, ready := b.Stages[stage.Ready]; ready && b.Image != d.Image {
			return b.Image
		}
	}
	return ""
}
