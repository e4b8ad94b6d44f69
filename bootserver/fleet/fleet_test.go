package fleet

import (
	"testing"
	"time"

	"swarmboot/initramfs/stage"
)

const m1 = "52:54:00:77:00:01"

var one = Machine{m1, "m1", "lab@1"}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// story is a fleet of one machine, and a clock that goes on a second with
// each step.
type story struct {
	*Fleet
	now time.Time
}

func newStory() *story {
	s := &story{New(), noon}
	s.Add(one)
	return s
}

func (s *story) discover(ipxe bool) {
	s.now = s.now.Add(time.Second)
	s.Discovered(one, ipxe, s.now)
}

func (s *story) say(reports ...stage.Report) {
	for _, r := range reports {
		s.now = s.now.Add(time.Second)
		r.Machine = m1
		s.Report(r, s.now)
	}
}

func (s *story) reach(stages ...stage.Stage) {
	for _, at := range stages {
		s.say(stage.Report{Stage: at})
	}
}

func (s *story) status() MachineStatus { return s.List()[0] }

func TestOneUEFIBoot(t *testing.T) {
	s := newStory()
	if got := s.status(); got.Stage != "" || got.Boots != 0 {
		t.Errorf("before anything: %+v", got)
	}
	s.discover(false)
	s.discover(false) // firmware repeats itself
	s.reach(stage.Loader)
	s.discover(true)
	s.discover(true)
	s.reach(stage.Script, stage.Kernel, stage.Init)
	got := s.status()
	if got.Boots != 1 || got.Stage != stage.Init || len(got.Times) != 5 || !got.Times[stage.DHCP].Equal(noon.Add(time.Second)) {
		t.Errorf("one boot gave %+v", got)
	}
	if !got.Since.Equal(s.now) || !got.Heard.Equal(s.now) {
		t.Errorf("since %v, heard %v; want %v", got.Since, got.Heard, s.now)
	}
	s.reach(stage.Seeding)
	s.discover(false)
	if got := s.status(); got.Boots != 2 || got.Stage != stage.DHCP || len(got.Times) != 1 {
		t.Errorf("after a restart: %+v", got)
	}
}

// TestBootsWithoutDHCP: where another server answers DHCP, the script is the first
// that is heard of a boot.
func TestBootsWithoutDHCP(t *testing.T) {
	s := newStory()
	for boot := range 3 {
		for _, at := range []stage.Stage{stage.Script, stage.Script, stage.Kernel, stage.Ready, stage.Seeding} {
			s.say(stage.Report{Stage: at, Image: "lab@1"})
		}
		if got := s.status(); got.Boots != boot+1 || len(got.Times) != 4 || got.Stage != stage.Seeding {
			t.Errorf("boot %d gave %+v", boot+1, got)
		}
	}
}

func TestOneBootOfABIOSWithIPXE(t *testing.T) {
	s := newStory()
	s.discover(true)
	s.discover(true)
	s.reach(stage.Script)
	if got := s.status(); got.Boots != 1 {
		t.Errorf("boots = %d; want 1", got.Boots)
	}
	s.discover(true)
	if got := s.status(); got.Boots != 2 || got.Stage != stage.DHCP {
		t.Errorf("after a restart: %+v", got)
	}
}

func TestStagesDoNotGoBack(t *testing.T) {
	s := newStory()
	s.discover(true)
	s.reach(stage.Root, stage.Network)
	if got := s.status(); got.Stage != stage.Root {
		t.Errorf("stage = %s; want root", got.Stage)
	}
}

// The link was so fast that the image was complete before the login.
func TestReadyAfterComplete(t *testing.T) {
	s := newStory()
	s.discover(true)
	s.reach(stage.SwitchRoot, stage.Complete, stage.HandedOver, stage.Seeding)
	s.say(stage.Report{Stage: stage.Ready, Progress: &stage.Progress{Pieces: 9, Have: 9}})
	got := s.status()
	if got.Stage != stage.Seeding || !got.Times[stage.Ready].Equal(s.now) || got.AtReady == nil || got.AtReady.Have != 9 {
		t.Errorf("status = %+v; want stage seeding, and ready with its time and progress", got)
	}
}

func TestFailureStaysUntilItIsPassed(t *testing.T) {
	s := newStory()
	s.discover(true)
	s.reach(stage.Init, stage.Network)
	s.say(stage.Report{Stage: stage.Failed, At: stage.Swarm, Reason: "no peers"})
	since := s.now
	s.reach(stage.Init, stage.Network)
	got := s.status()
	if got.Stage != stage.Failed || got.At != stage.Swarm || got.Reason != "no peers" || !got.Since.Equal(since) {
		t.Errorf("while it tries again: %+v; want the failure", got)
	}
	s.reach(stage.Swarm)
	if got := s.status(); got.Stage != stage.Swarm || got.At != "" || got.Reason != "" {
		t.Errorf("after it got past: %+v; want no failure", got)
	}
}

func TestProgressAtReadyIsKept(t *testing.T) {
	s := newStory()
	s.discover(true)
	s.say(
		stage.Report{Stage: stage.SwitchRoot, Progress: &stage.Progress{Pieces: 9, Have: 2}},
		stage.Report{Stage: stage.Ready, Progress: &stage.Progress{Pieces: 9, Have: 4}},
		stage.Report{Stage: stage.Ready, Progress: &stage.Progress{Pieces: 9, Have: 6}},
		stage.Report{Stage: stage.Complete, Progress: &stage.Progress{Pieces: 9, Have: 9}},
	)
	if got := s.status(); got.AtReady == nil || got.AtReady.Have != 4 || got.Progress.Have != 9 {
		t.Errorf("at ready %+v, now %+v; want 4 and 9 pieces", got.AtReady, got.Progress)
	}
}

func TestStrangersAreNotListed(t *testing.T) {
	s := newStory()
	s.Report(stage.Report{Machine: "52:54:00:77:00:09", Stage: stage.Init}, noon)
	if got := s.List(); len(got) != 1 {
		t.Errorf("list = %+v; want m1 alone", got)
	}
}
