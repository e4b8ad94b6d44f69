package bootserver

import (
	"errors"
	"fmt"
	"net"
	"time"

	"swarmboot/bootserver/loaders"
	"swarmboot/images"
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

var (
	// ErrUnlisted says that a machine is not in the settings.
	ErrUnlisted = errors.New("is not listed in the settings")
	// ErrNoRollback says that there is nothing to roll back to.
	ErrNoRollback = errors.New("has reached its login with no other image in the boots that are remembered")
)

// Override has a listed machine boot an image in place of its own: at its next boot
// alone, or, if it stays, until Release. The image may be named by a tag, and is
// the one that the tag stands for now. A machine that runs is not disturbed.
func (s *Server) Override(mac string, to images.Ref, stays bool) (Override, error) {
	m, err := s.listed(mac)
	if err != nil {
		return Override{}, err
	}
	image, err := s.catalogue.Get(to)
	if err != nil {
		return Override{}, err
	}
	if arch := image.Manifest.Arch; s.web.Initramfs[arch].File == "" {
		return Override{}, fmt.Errorf("image %s is for %s, and this server has no initramfs for it", to, arch)
	}
	if m.Loader == loaders.SecureBoot {
		if err := checkKernel(s.site.Load().Loaders, to, s.catalogue.Get); err != nil {
			return Override{}, fmt.Errorf("image %s with loader: %s: %w", to, loaders.SecureBoot, err)
		}
	}
	o := Override{Image: image.Manifest.Ref().String(), Stays: stays}
	s.registry.setOverride(m, &o)
	return o, s.save(false)
}

// Rollback has a listed machine boot the image that it ran before: the last one,
// other than that of this boot, with which it has reached its login. It stays
// until Release.
func (s *Server) Rollback(mac string) (Override, error) {
	m, err := s.listed(mac)
	if err != nil {
		return Override{}, err
	}
	before := s.registry.ranBefore(m.MAC.String())
	if before == "" {
		return Override{}, fmt.Errorf("machine %s %w", mac, ErrNoRollback)
	}
	ref, err := images.ParseRef(before)
	if err != nil {
		return Override{}, err
	}
	return s.Override(mac, ref, true)
}

// Release gives a machine back to the settings, from its next boot on.
func (s *Server) Release(mac string) error {
	m, err := s.listed(mac)
	if err != nil {
		return err
	}
	s.registry.setOverride(m, nil)
	return s.save(false)
}

func (s *Server) listed(mac string) (Machine, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return Machine{}, err
	}
	m, ok := s.site.Load().machines[hw.String()]
	if !ok {
		return Machine{}, fmt.Errorf("machine %s %w", mac, ErrUnlisted)
	}
	return m, nil
}

// overridden is m with the image that it is to boot now.
func (s *Server) overridden(m Machine) Machine {
	if ref, err := images.ParseRef(s.registry.override(m.MAC.String())); err == nil {
		m.Image = ref
	}
	return m
}

func (r *registry) setOverride(to Machine, o *Override) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.state(to.MAC.String(), to.Name, to.Image.String())
	m.Override, m.unsaved = o, true
	r.touch(m, time.Now())
}

// override is the image that mac boots in place of its own; empty if none.
func (r *registry) override(mac string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.machines[mac]; m != nil && m.overridden() {
		return m.Override.Image
	}
	return ""
}

// overridden tells whether the override holds for the boot that m is in, or, once
// Linux runs, for its next one.
func (m *machineState) overridden() bool {
	o := m.Override
	return o != nil && (o.Stays || o.Boot == 0 || o.Boot == m.nextScript())
}

// nextScript is the number of the boot that a script belongs to, if one is sent
// now.
func (m *machineState) nextScript() int {
	if m.beginsByScript() {
		return m.Boots + 1
	}
	return m.Boots
}

// useOverride notes that a script has named the override of mac.
func (r *registry) useOverride(mac string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.machines[mac]
	if m == nil || !m.overridden() || m.Override.Stays || m.Override.Boot != 0 {
		return
	}
	used := *m.Override // copies of the old one have left the registry
	used.Boot = m.nextScript()
	m.Override, m.unsaved = &used, true
	r.touch(m, time.Now())
}

// ranBefore is the last image, other than that of this boot, with which mac has
// reached its login; empty if none is remembered.
func (r *registry) ranBefore(mac string) string {
	d, _ := r.detail(mac)
	for _, b := range d.Past {
		if _, ready := b.Stages[stage.Ready]; ready && b.Image != d.Image {
			return b.Image
		}
	}
	return ""
}
