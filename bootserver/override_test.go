package bootserver

import (
	"errors"
	"net"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

// boots lets one machine boot as it does under full DHCP, or where DHCP is another
// server's, and returns what the settings-or-override said at its scripts.
func (s *story) boots(withDHCP bool) (scripts []string) {
	if withDHCP {
		s.discover(false)
		s.reach(stage.Loader)
	}
	for range 2 { // its loader tries twice
		scripts = append(scripts, s.override(m1))
		s.useOverride(m1)
		s.reach(stage.Script)
	}
	s.reach(stage.Kernel, stage.Init, stage.Ready, stage.Seeding)
	return scripts
}

func TestOverrideHoldsForOneBoot(t *testing.T) {
	machine := Machine{MAC: net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}}
	for name, withDHCP := range map[string]bool{"full DHCP": true, "another's DHCP": false} {
		s := newStory()
		s.boots(withDHCP)
		s.setOverride(machine, &Override{Image: "lab@2"})
		s.setOverride(machine, &Override{Image: "lab@3"}) // the later word counts
		if got := s.status().Override; got == nil || got.Image != "lab@3" || got.Boot != 0 {
			t.Errorf("%s: before the boot it is %+v", name, got)
		}
		for i, want := range []string{"lab@3", "", ""} {
			if got := s.boots(withDHCP); got[0] != want || got[1] != want {
				t.Errorf("%s: scripts of boot %d name %q; want %q", name, i, got, want)
			}
		}
		if got := s.status().Override; got != nil {
			t.Errorf("%s: it is left over: %+v", name, got)
		}
	}
}

func TestOverrideThatStays(t *testing.T) {
	s := newStory()
	s.setOverride(Machine{MAC: net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}}, &Override{Image: "lab@2", Stays: true})
	for range 3 {
		if got := s.boots(true); got[0] != "lab@2" || got[1] != "lab@2" {
			t.Errorf("scripts name %q; want lab@2", got)
		}
	}
}

func TestOverridesOfAServer(t *testing.T) {
	l := newLab(t)
	s := l.new(t)
	t.Cleanup(func() { s.leases.Close() })
	one := images.Ref{Name: "lab", Version: "1"}
	if _, err := s.Override("52:54:00:77:00:99", one, false); !errors.Is(err, ErrUnlisted) {
		t.Errorf("Override of a stranger = %v", err)
	}
	if _, err := s.Override(m2, images.Ref{Name: "lab", Version: "9"}, false); !errors.Is(err, catalogue.ErrNotFound) {
		t.Errorf("Override by an image that is not there = %v", err)
	}
	if _, err := s.Rollback(m2); !errors.Is(err, ErrNoRollback) {
		t.Errorf("Rollback of a machine that has never booted = %v", err)
	}

	// It ran lab@1, and then lab@2, with which it did not reach its login again.
	now := time.Now()
	for _, boot := range []struct {
		image string
		until stage.Stage
	}{{"lab@1", stage.Ready}, {"lab@2", stage.Ready}, {"lab@2", stage.Init}} {
		s.registry.discovered(m2, "m2", boot.image, false, now)
		s.registry.report(stage.Report{Machine: m2, Stage: boot.until}, now)
	}
	o, err := s.Rollback(m2)
	if err != nil || o.Image != "lab@1" || !o.Stays {
		t.Fatalf("Rollback = %+v, %v; want lab@1, which stays", o, err)
	}
	s = restarted(t, l, s)
	hw, _ := net.ParseMAC(m2)
	if m, _, _ := s.machine(hw); m.Image != one || s.Machines()[0].Override == nil {
		t.Errorf("after a restart of the server it is to boot %v", m.Image)
	}
	if err := s.Release(m2); err != nil {
		t.Fatal(err)
	}
	s = restarted(t, l, s)
	if got := s.Machines()[0].Override; got != nil {
		t.Errorf("it is released, and after a restart of the server still has %+v", got)
	}
}
