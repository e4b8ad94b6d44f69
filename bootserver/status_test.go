package bootserver

import (
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/initramfs/stage"
)

func TestJudge(t *testing.T) {
	long := noon.Add(time.Hour)
	for _, c := range []struct {
		name string
		m    MachineStatus
		now  time.Time
		want Condition
		why  string
	}{
		{"nothing heard", MachineStatus{}, noon, Unseen, ""},
		{"on its way", MachineStatus{Stage: stage.Loader, Since: noon, Heard: noon}, noon.Add(time.Minute), Booting, ""},
		{"the loader says nothing", MachineStatus{Stage: stage.Loader, Since: noon, Heard: noon}, long, Stuck, "the loader has not asked for its script; nothing was heard of it since 12:00:00 UTC"},
		{"its reads wait", MachineStatus{Stage: stage.SwitchRoot, Since: noon, Heard: long, Progress: &stage.Progress{Waiting: 3}}, long, Stuck, "its login; 3 reads wait for pieces"},
		{"it says so itself", MachineStatus{Stage: stage.Failed, At: stage.Root, Reason: "disk full", Heard: noon}, noon, Failed, "at root: disk full"},
		{"up", MachineStatus{Stage: stage.Ready, Since: noon, Heard: long}, long, Up, ""},
		{"up from its disk", MachineStatus{Stage: stage.Ready, Since: noon, Heard: noon, Install: &stage.Install{Digest: "d"}}, long, Up, ""},
		{"gone", MachineStatus{Stage: stage.Seeding, Since: noon, Heard: noon}, long, Silent, "since 12:00:00 UTC"},
	} {
		got := judge(c.m, c.now)
		if got.Condition != c.want || !strings.HasSuffix(got.Why, c.why) {
			t.Errorf("%s: judge = %+v; want %s, %q", c.name, got, c.want, c.why)
		}
		if ill := c.want == Stuck || c.want == Failed || c.want == Silent; ill != (got.Remedy != "") {
			t.Errorf("%s: remedy %q", c.name, got.Remedy)
		}
	}
	for _, s := range stage.All[:stage.Ready.Index()] {
		if p := patiences[s]; p.limit == 0 || p.why == "" || p.remedy == "" {
			t.Errorf("nothing is said about machines that are stuck at %s", s)
		}
	}
}

func TestTimeMakesAMachineStuck(t *testing.T) {
	s := newStory()
	s.discover(false)
	_, last := s.since(0)
	if news := s.look(s.now.Add(time.Second)); len(news) != 0 {
		t.Errorf("look after a second = %+v; want nothing new", news)
	}
	if news := s.look(s.now.Add(time.Hour)); len(news) != 1 || news[0].Condition != Stuck {
		t.Errorf("look after an hour = %+v; want one that is stuck", news)
	}
	if changed, _ := s.since(last); len(changed) != 1 || changed[0].Condition != Stuck {
		t.Errorf("since = %+v; want the stuck machine", changed)
	}
	s.reach(stage.Loader)
	if got := s.status(); got.Condition != Booting || got.Why != "" {
		t.Errorf("after it went on: %+v; want booting", got.Health)
	}
}

func TestSinceTellsWhatHasChanged(t *testing.T) {
	s := newStory()
	s.add("52:54:00:77:00:02", "m2", "lab@1")
	all, last := s.since(0)
	if len(all) != 2 {
		t.Fatalf("since(0) = %+v; want both", all)
	}
	if none, again := s.since(last); len(none) != 0 || again != last {
		t.Errorf("since(%d) = %+v, %d; want nothing", last, none, again)
	}
	s.reach(stage.Init)
	if one, next := s.since(last); len(one) != 1 || one[0].MAC != m1 || next <= last {
		t.Errorf("since(%d) = %+v, %d; want m1 alone", last, one, next)
	}
}

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
	d, ok := s.detail(m1)
	if !ok || len(d.Past) != 3 || d.Past[0].Stages[stage.Ready] != 120_000 || d.Boot.Stages[stage.Init] != 1000 {
		t.Fatalf("detail = %+v", d)
	}
	if d.Sample != 3 || d.Typical.Stages[stage.Init] != 20_000 || d.Typical.Stages[stage.Ready] != 50_000 {
		t.Errorf("typical of %d = %+v; want 20s to init and 50s to ready, of 3", d.Sample, d.Typical)
	}
	for range keptBoots + 3 {
		boot(1, 1)
	}
	if d, _ = s.detail(m1); len(d.Past) != keptBoots {
		t.Errorf("%d boots are kept; want %d", len(d.Past), keptBoots)
	}
	if _, ok := s.detail("52:54:00:77:00:09"); ok {
		t.Error("detail of a stranger; want none")
	}
}

func TestBytesFromPeersOnlyGrow(t *testing.T) {
	s := newStory()
	for _, n := range []int64{100, 250, 40, 50} { // it boots anew after the second
		s.say(stage.Report{Stage: stage.Root, Image: "lab@1", Progress: &stage.Progress{FromPeers: n}})
	}
	if got := s.given("lab@1"); got != 300 {
		t.Errorf("given = %d; want 250 and 50", got)
	}
}

func TestThroughput(t *testing.T) {
	m := newMeter()
	for i := range int64(keptSeconds + 5) {
		m.sample([]SwarmStatus{{Image: "lab@1", SeederBytes: 100 * i, HTTPBytes: 10 * i, PeerBytes: 1000 + 7*i}}, noon.Add(time.Duration(i)*time.Second))
	}
	got := m.of("lab@1")
	if len(got.Server) != keptSeconds || got.Server[0] != 110 || got.Peers[keptSeconds-1] != 7 {
		t.Errorf("throughput of %d seconds, %d, %d; want %d, 110, 7", len(got.Server), got.Server[0], got.Peers[keptSeconds-1], keptSeconds)
	}
	if none := m.of("other@1"); none.Server == nil || len(none.Server) != 0 {
		t.Errorf("throughput of an unknown image = %+v", none)
	}
}

func TestStrangersAreBounded(t *testing.T) {
	s := newStrangers()
	for i := range maxStrangers + 10 {
		s.heard(dhcp.Client{MAC: dhcp.MAC{0x52, 0, 0, 0, byte(i >> 8), byte(i)}, Program: dhcp.Firmware}, noon.Add(time.Duration(i)*time.Second))
	}
	s.heard(dhcp.Client{MAC: dhcp.MAC{0x52, 0, 0, 0, 0, 20}}, noon.Add(time.Hour))
	got := s.list()
	if len(got) != maxStrangers || got[0].MAC != "52:00:00:00:00:14" || got[0].Asked != 2 || !got[0].First.Equal(noon.Add(20*time.Second)) {
		t.Errorf("%d strangers, first %+v; want %d, the one heard last first", len(got), got[0], maxStrangers)
	}
}
