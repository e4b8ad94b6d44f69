package sim

import (
	"testing"
	"time"

	"swarmboot/peerd/swarm/schedule"
)

// small is a boot that takes a second at line rate.
var small = Hall{
	Machines: 8, Link: 12.5e6, PieceBytes: 64 << 10, BlockBytes: 16 << 10, Pieces: 400, Hot: 190, Compute: 0.5, Seed: 1, Rules: schedule.Default,
}

func TestOneMachineBootsAtLineRate(t *testing.T) {
	one := small
	one.Machines = 1
	r := one.Boot()
	if r.Booted != 1 || r.Ratio() > 1.3 || r.Ratio() < 1 {
		t.Errorf("booted %d in %.3f of the bound; want 1 in 1.0 to 1.3", r.Booted, r.Ratio())
	}
	if r.Copies() < 1 || r.Copies() > 1.1 {
		t.Errorf("the server sent %.3f copies; want 1.0 to 1.1", r.Copies())
	}
}

func TestSameHallSameResult(t *testing.T) {
	a, b := small.Boot(), small.Boot()
	a.Took, b.Took = 0, 0
	if a != b {
		t.Errorf("two boots of one hall: %+v and %+v", a, b)
	}
	other := small
	other.Seed = 2
	if c := other.Boot(); c.LastBoot == a.LastBoot && c.Server == a.Server {
		t.Error("another seed gives the same")
	}
}

// What reaches the machines has been sent by somebody: nobody beats the bound,
// and what crosses between racks is at least the hot set of each.
func TestNothingIsFree(t *testing.T) {
	racks := small
	racks.Machines, racks.Racks, racks.Uplink = 16, 4, racks.Link
	r := racks.Boot()
	if r.Booted != 16 || r.Ratio() < 1 || r.CoreCopies() < 1 || r.Copies() < 1 {
		t.Errorf("booted %d of 16, in %.3f of the bound, core %.3f, copies %.3f; nothing can be below 1", r.Booted, r.Ratio(), r.CoreCopies(), r.Copies())
	}
}

func TestTheOthersBootWhenSomeDie(t *testing.T) {
	dying := small
	dying.Machines, dying.Die = 16, 0.3
	r := dying.Boot()
	if r.Died == 0 || r.Booted+r.Died != 16 {
		t.Errorf("%d of 16 machines booted and %d died; want all but those that died", r.Booted, r.Died)
	}
	if r.LongestWait > 5*time.Second {
		t.Errorf("a read waited %v", r.LongestWait)
	}
}

func TestFullImageArrives(t *testing.T) {
	full := small
	full.Full = true
	if r := full.Boot(); r.LastDone < 2*time.Second || r.Copies() < 1 {
		t.Errorf("the image was there after %v, with %.3f copies from the server", r.LastDone, r.Copies())
	}
}

func TestClockKeepsOrder(t *testing.T) {
	var c clock
	for i, at := range []nanos{5, 1, 3, 1, 5, 2, 0, 1} {
		c.at(at, event{who: int32(i)})
	}
	var got []int32
	for e, ok := c.next(); ok; e, ok = c.next() {
		got = append(got, e.who)
	}
	want := []int32{6, 1, 3, 7, 5, 2, 0, 4}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("order %v; want %v", got, want)
		}
	}
}

// A crowd boots in little more than the time of one machine, and from one copy,
// though each machine knows only some of the others. Its boot is half as long as
// those of the report, and its beginning and end count twice.
func TestCrowdsScale(t *testing.T) {
	crowd := big
	crowd.Machines, crowd.Hot, crowd.Pieces = 128, 240, 300
	if r := crowd.Boot(); r.Ratio() > 1.4 || r.Copies() > 1.1 {
		t.Errorf("%.2f of the bound and %.2f copies; want at most 1.4 and 1.1", r.Ratio(), r.Copies())
	}
}
