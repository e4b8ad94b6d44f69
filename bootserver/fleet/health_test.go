package fleet

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"swarmboot/initramfs/stage"
)

var update = flag.Bool("update", false, "rewrite docs/troubleshooting.md")

// What admins read is what the pages say.
func TestTroubleshootingIsPublished(t *testing.T) {
	const file, begin, end = "../../docs/troubleshooting.md", "-update -->\n", "<!-- end -->"
	var table strings.Builder
	fmt.Fprintf(&table, "| stands at | for more than | what is wrong | what to do |\n|---|---|---|---|\n")
	for _, s := range stage.All {
		if p, ok := patiences[s]; ok {
			limit := "at once"
			if p.limit >= time.Second {
				limit = p.limit.String()
			}
			fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", s, limit, p.why, p.remedy)
		}
	}
	fmt.Fprintf(&table, "| `ready` and later | %v | nothing was heard of it | %s |\n", silence, judge(MachineStatus{Stage: stage.Ready}, time.Unix(1<<31, 0)).Remedy)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := bytes.Cut(text, []byte(begin))
	_, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	want := string(head) + begin + table.String() + end + string(tail)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("%s says something else than the pages; go test ./bootserver/fleet -run Troubleshooting -update", file)
	}
}

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
		{"its pieces are damaged", MachineStatus{Stage: stage.Root, Since: noon, Heard: long, Progress: &stage.Progress{Rejected: 5}}, long, Stuck, "has not taken over; it has refused 5 pieces that are not what was signed"},
		{"its reads wait", MachineStatus{Stage: stage.SwitchRoot, Since: noon, Heard: long, Progress: &stage.Progress{Waiting: 3}}, long, Stuck, "its login; 3 reads wait for pieces"},
		{"it says so itself", MachineStatus{Stage: stage.Failed, At: stage.Root, Reason: "disk full", Heard: noon}, noon, Failed, "at root: disk full"},
		{"up", MachineStatus{Stage: stage.Ready, Since: noon, Heard: long}, long, Up, ""},
		{"others have banned it", MachineStatus{Stage: stage.Ready, Since: noon, Heard: long, BannedBy: []string{"a", "b", "c", "d", "e"}}, long, Up, "not what was signed, say a, b, c and 2 more"},
		{"up from its disk", MachineStatus{Stage: stage.Ready, Since: noon, Heard: noon, Install: &stage.Install{Digest: "d"}}, long, Up, ""},
		{"gone", MachineStatus{Stage: stage.Seeding, Since: noon, Heard: noon}, long, Silent, "since 12:00:00 UTC"},
	} {
		got := judge(c.m, c.now)
		if got.Condition != c.want || !strings.HasSuffix(got.Why, c.why) {
			t.Errorf("%s: judge = %+v; want %s, %q", c.name, got, c.want, c.why)
		}
		if ill := c.why != ""; ill != (got.Remedy != "") {
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
	_, _, last := s.Since(0)
	if news, _ := s.Look(s.now.Add(time.Second)); len(news) != 0 {
		t.Errorf("look after a second = %+v; want nothing new", news)
	}
	if news, _ := s.Look(s.now.Add(time.Hour)); len(news) != 1 || news[0].Condition != Stuck {
		t.Errorf("look after an hour = %+v; want one that is stuck", news)
	}
	if changed, _, _ := s.Since(last); len(changed) != 1 || changed[0].Condition != Stuck {
		t.Errorf("since = %+v; want the stuck machine", changed)
	}
	s.reach(stage.Loader)
	if got := s.status(); got.Condition != Booting || got.Why != "" {
		t.Errorf("after it went on: %+v; want booting", got.Health)
	}
}

func TestSinceTellsWhatHasChanged(t *testing.T) {
	s := newStory()
	s.Add(Machine{"52:54:00:77:00:02", "m2", "lab@1"})
	all, _, last := s.Since(0)
	if len(all) != 2 {
		t.Fatalf("since(0) = %+v; want both", all)
	}
	if none, _, again := s.Since(last); len(none) != 0 || again != last {
		t.Errorf("since(%d) = %+v, %d; want nothing", last, none, again)
	}
	s.reach(stage.Init)
	if one, _, next := s.Since(last); len(one) != 1 || one[0].MAC != m1 || next <= last {
		t.Errorf("since(%d) = %+v, %d; want m1 alone", last, one, next)
	}
}

// Who follows hears of a machine that is taken out of the settings, though it was
// never heard of, and no more of it when it is back.
func TestSinceTellsWhatWasRemoved(t *testing.T) {
	s := newStory()
	s.reach(stage.Ready)
	listed := Machine{"52:54:00:77:00:02", "m2", "lab@1"}
	s.Expect([]Machine{listed})
	_, _, last := s.Since(0)
	s.Expect(nil)
	changed, removed, next := s.Since(last)
	if len(removed) != 1 || removed[0] != listed.MAC || len(changed) != 1 || changed[0].MAC != m1 || next <= last {
		t.Errorf("since(%d) = %+v, %v, %d; want m2 removed, and m1, which runs, changed", last, changed, removed, next)
	}
	if _, removed, _ := s.Since(next); len(removed) != 0 {
		t.Errorf("since(%d): %v removed; want it told once", next, removed)
	}
	if _, removed, _ := s.Since(0); len(removed) != 0 {
		t.Errorf("since(0): %v removed; want nothing told to who has heard of nothing", removed)
	}
	s.Expect([]Machine{listed})
	if changed, removed, _ := s.Since(last); len(removed) != 0 || len(changed) != 2 {
		t.Errorf("when it is back: %+v, %v removed; want it changed", changed, removed)
	}
}

// A machine that is taken out of the settings goes when it is heard no more; one
// that nobody ever listed is missed instead.
func TestWhoWasTakenOutGoesInSilence(t *testing.T) {
	s := newStory()
	s.reach(stage.Ready)
	listed, stranger := Machine{m1, "m1", "lab@1"}, Machine{"52:54:00:77:00:02", "", "lab@1"}
	s.Discovered(stranger, false, s.now)
	s.Expect([]Machine{listed})
	s.Expect(nil)
	if _, removed := s.Look(s.now.Add(silence)); len(removed) != 0 || len(s.List()) != 2 {
		t.Fatalf("%v removed, %+v left; want both to stay while m1 runs", removed, s.List())
	}
	s.Expect([]Machine{listed})
	if _, removed := s.Look(s.now.Add(time.Hour)); len(removed) != 0 {
		t.Fatalf("%v removed, though it is listed again", removed)
	}
	s.Expect(nil)
	_, _, last := s.Since(0)
	_, removed := s.Look(s.now.Add(time.Hour))
	if _, told, _ := s.Since(last); len(removed) != 1 || removed[0] != m1 || !slices.Equal(told, removed) {
		t.Errorf("%v removed, %v told; want m1", removed, told)
	}
}
