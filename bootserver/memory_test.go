package bootserver

import (
	"errors"
	"slices"
	"testing"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/internal/leasestore"
	"swarmboot/images"
	"swarmboot/initramfs/stage"
)

const (
	m1 = "52:54:00:77:00:01"
	m2 = "52:54:00:77:00:02" // listed in the lab
)

// booted lets m2 boot twice, and at last reach ready an hour ago.
func booted(s *Server) (ready time.Time) {
	now := time.Now().Add(-2 * time.Hour)
	for range 2 {
		now = now.Add(time.Minute)
		s.fleet.Discovered(fleet.Machine{MAC: m2, Name: "m2", Image: "lab@1"}, false, now)
		for _, at := range []stage.Stage{stage.Loader, stage.Script, stage.Ready} {
			now = now.Add(time.Second)
			s.fleet.Report(stage.Report{Machine: m2, Stage: at}, now)
		}
	}
	s.boots(m2, running{images.Ref{Name: "lab", Version: "0"}, []string{"quiet"}})
	return now
}

func restarted(t *testing.T, l lab, before *Server) *Server {
	t.Helper()
	if err := before.leases.Close(); err != nil {
		t.Fatal(err)
	}
	s := l.new(t)
	t.Cleanup(func() { s.leases.Close() })
	return s
}

func TestARestartedServerKnowsItsMachines(t *testing.T) {
	l := newLab(t)
	s := l.new(t)
	ready := booted(s)
	if err := s.save(false); err != nil {
		t.Fatal(err)
	}
	s = restarted(t, l, s)
	d, ok := s.Machine(m2)
	if !ok || d.Stage != stage.Ready || d.Boots != 2 || !d.Since.Equal(ready) || len(d.Times) != 4 || len(d.Past) != 1 || d.Name != "m2" {
		t.Fatalf("after a restart the machine is %+v", d)
	}
	// An hour without a word, but nobody was there to hear one.
	if d.Condition != fleet.Up {
		t.Errorf("it counts as %s (%s); want %s", d.Condition, d.Why, fleet.Up)
	}
	if s.fleet.Look(time.Now().Add(10 * time.Minute)); s.Machines()[0].Condition != fleet.Silent {
		t.Errorf("after ten minutes it counts as %s; want %s", s.Machines()[0].Condition, fleet.Silent)
	}
	// It gets the root that belongs to its kernel, whatever the config says now.
	listed, _ := s.site.Load().machines[m2]
	if got := s.booted(listed).String(); got != "lab@0" {
		t.Errorf("its image is %s; want lab@0, whose kernel it runs", got)
	}
	// Its next boot is told from this one.
	if !s.fleet.Discovered(fleet.Machine{MAC: m2, Name: "m2", Image: "lab@1"}, false, time.Now()) {
		t.Error("its next boot is not noticed")
	}
}

// A machine that is taken out of the settings, be it while the server is down, is
// not there for ever.
func TestWhoWasTakenOutIsForgotten(t *testing.T) {
	l := newLab(t)
	s := l.new(t)
	booted(s)
	if err := s.save(true); err != nil {
		t.Fatal(err)
	}
	l.Machines = l.Machines[1:]
	s = restarted(t, l, s)
	if _, removed := s.fleet.Look(time.Now()); len(removed) != 0 {
		t.Errorf("%v forgotten at once; want it to have the time to be heard", removed)
	}
	_, removed := s.fleet.Look(time.Now().Add(10 * time.Minute))
	s.forget(removed)
	if known, err := s.leases.States(); err != nil || len(known) != 0 || len(removed) != 1 || removed[0] != m2 {
		t.Errorf("forgotten is %v, stored are %v, %v; want m2, and nothing", removed, known, err)
	}
}

func TestNewsThatCouldNotBeStoredIsStoredLater(t *testing.T) {
	l := newLab(t)
	s := l.new(t)
	defer s.leases.Close()
	booted(s)
	disk := s.leases
	s.leases = fullDisk{disk}
	if err := s.save(false); !errors.Is(err, leasestore.ErrUnavailable) {
		t.Fatalf("save to a full disk = %v", err)
	}
	s.leases = disk
	if err := s.save(false); err != nil {
		t.Fatal(err)
	}
	if known, err := disk.States(); err != nil || len(known) != 1 {
		t.Errorf("%d machines are stored, %v; want 1", len(known), err)
	}
	if again := s.fleet.Unsaved(false); len(again) != 0 {
		t.Errorf("what is stored is to be stored again: %v", again)
	}
}

type fullDisk struct{ leasestore.Store }

func (fullDisk) Remember(map[[6]byte][]byte) error { return leasestore.ErrUnavailable }

func TestWhoIsNotListedIsForgottenAfterAMonth(t *testing.T) {
	l := newLab(t)
	s := l.new(t)
	const other = "52:54:00:77:00:99"
	for mac, heard := range map[string]time.Time{other: time.Now().Add(-forgetAfter - time.Hour), m2: time.Now().Add(-forgetAfter - time.Hour), m1: time.Now()} {
		s.fleet.Discovered(fleet.Machine{MAC: mac, Image: "lab@1"}, false, heard)
	}
	if err := errors.Join(s.save(true), s.leases.Remember(map[[6]byte][]byte{{2, 2, 2, 2, 2, 2}: []byte("torn")})); err != nil {
		t.Fatal(err)
	}
	s = restarted(t, l, s)
	var heard []string
	for _, m := range s.Machines() {
		if m.Stage != "" {
			heard = append(heard, m.MAC)
		}
	}
	slices.Sort(heard)
	if !slices.Equal(heard, []string{m1, m2}) {
		t.Errorf("after a restart known are %v; want the listed %s, and %s of late", heard, m2, m1)
	}
	if known, err := s.leases.States(); err != nil || len(known) != 3 {
		t.Errorf("%d machines are stored, %v; want %s forgotten, and nothing else", len(known), err, other)
	}
}
