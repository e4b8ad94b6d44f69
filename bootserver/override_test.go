package bootserver

import (
	"errors"
	"net"
	"testing"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

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
		s.fleet.Discovered(fleet.Machine{MAC: m2, Name: "m2", Image: boot.image}, false, now)
		s.fleet.Report(stage.Report{Machine: m2, Stage: boot.until}, now)
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
