package fleet

import (
	"testing"
	"time"

	"swarmboot/initramfs/stage"
)

func TestTimelines(t *testing.T) {
	s := newStory()
	boot := func(seconds ...int) { // between the stages dhcp, init, ready
		s.discover(false)
		for i, at := range []stage.Stage{stage.Init, stage.Ready} {
			s.now = s.now.Add(time.Duration(seconds[i]-1) * time.Second)
			s.reach(at)
		}
	}
	boot(10, 30)
	boot(20, 30)
	boot(90, 30)
	s.discover(false)
	s.reach(stage.Init)
	d, ok := s.Detail(m1)
	if !ok || len(d.Past) != 3 || d.Past[0].Stages[stage.Ready] != 120_000 || d.Boot.Stages[stage.Init] != 1000 {
		t.Fatalf("detail = %+v", d)
	}
	if d.Sample != 3 || d.Typical.Stages[stage.Init] != 20_000 || d.Typical.Stages[stage.Ready] != 50_000 {
		t.Errorf("typical of %d = %+v; want 20s to init and 50s to ready, of 3", d.Sample, d.Typical)
	}
	for range keptBoots + 3 {
		boot(1, 1)
	}
	if d, _ = s.Detail(m1); len(d.Past) != keptBoots {
		t.Errorf("%d boots are kept; want %d", len(d.Past), keptBoots)
	}
	if _, ok := s.Detail("52:54:00:77:00:09"); ok {
		t.Error("detail of a stranger; want none")
	}
}

func TestInsideIsOfThisBoot(t *testing.T) {
	s := newStory()
	s.discover(false)
	s.say(stage.Report{Stage: stage.Root, Detail: &stage.Detail{Console: []string{"a line"}}}, stage.Report{Stage: stage.Root})
	if d, _ := s.Detail(m1); d.Inside == nil || d.Inside.Console[0] != "a line" {
		t.Errorf("inside = %+v; want what it told before its last report", d.Inside)
	}
	s.discover(false)
	if d, _ := s.Detail(m1); d.Inside != nil {
		t.Errorf("inside = %+v in the next boot; want nothing", d.Inside)
	}
}
