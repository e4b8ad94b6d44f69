package bootserver

import (
	"errors"
	"fmt"
	"net"

	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/loaders"
	"swarmboot/images"
)

var (
	// ErrUnlisted says that a machine is not in the settings.
	ErrUnlisted = errors.New("is not listed in the settings")
	// ErrNoRollback says that there is nothing to roll back to.
	ErrNoRollback = errors.New("has reached its login with no other image in the boots that are remembered")
)

// Override has a listed machine boot an image in place of its own: at its next boot
// alone, or, if it stays, until Release. The image may be named by a tag, and is
// the one that the tag stands for now. A machine that runs is not disturbed.
func (s *Server) Override(mac string, to images.Ref, stays bool) (fleet.Override, error) {
	m, err := s.listed(mac)
	if err != nil {
		return fleet.Override{}, err
	}
	image, err := s.catalogue.Get(to)
	if err != nil {
		return fleet.Override{}, err
	}
	if arch := image.Manifest.Arch; s.archive(arch).File == "" {
		return fleet.Override{}, fmt.Errorf("image %s is for %s, and this server has no initramfs for it", to, arch)
	}
	if m.Loader == loaders.SecureBoot {
		if err := checkKernel(s.site.Load().Loaders, to, s.catalogue.Get); err != nil {
			return fleet.Override{}, fmt.Errorf("image %s with loader: %s: %w", to, loaders.SecureBoot, err)
		}
	}
	o := fleet.Override{Image: image.Manifest.Ref().String(), Stays: stays}
	s.fleet.SetOverride(m.known(), &o)
	return o, s.save(false)
}

// Rollback has a listed machine boot the image that it ran before: the last one,
// other than that of this boot, with which it has reached its login. It stays
// until Release.
func (s *Server) Rollback(mac string) (fleet.Override, error) {
	m, err := s.listed(mac)
	if err != nil {
		return fleet.Override{}, err
	}
	before := s.fleet.RanBefore(m.MAC.String())
	if before == "" {
		return fleet.Override{}, fmt.Errorf("machine %s %w", mac, ErrNoRollback)
	}
	ref, err := images.ParseRef(before)
	if err != nil {
		return fleet.Override{}, err
	}
	return s.Override(mac, ref, true)
}

// Release gives a machine back to the settings, from its next boot on.
func (s *Server) Release(mac string) error {
	m, err := s.listed(mac)
	if err != nil {
		return err
	}
	s.fleet.SetOverride(m.known(), nil)
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
	if ref, err := images.ParseRef(s.fleet.Override(m.MAC.String())); err == nil {
		m.Image = ref
	}
	return m
}
