package table

import (
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

func TestTimeline(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	d := fleet.MachineDetail{
		MachineStatus: fleet.MachineStatus{MAC: "52:54:00:77:00:01", Name: "r1-n01", Image: "lab@1", Stage: stage.Swarm, Since: began.Add(8 * time.Second),
			Health: fleet.Health{Condition: fleet.Stuck, Why: "no pieces", Remedy: "Let 6881/tcp through."}},
		Boot:    &fleet.Timeline{Began: began, Image: "lab@1", Stages: map[stage.Stage]int64{stage.DHCP: 0, stage.Kernel: 2000, stage.Swarm: 8000}},
		Typical: &fleet.Timeline{Image: "lab@1", Stages: map[stage.Stage]int64{stage.DHCP: 0, stage.Kernel: 2000, stage.Swarm: 4000, stage.Ready: 10000}},
		Sample:  7,
	}
	var out strings.Builder
	if err := Timeline(&out, d, 70, began.Add(20*time.Second)); err != nil {
		t.Fatal(err)
	}
	want := `r1-n01  52:54:00:77:00:01  lab@1  stuck, at swarm for 12s
no pieces
Let 6881/tcp through.

boot of 2026-03-01 12:00:00 (█), beside the median of 7 boots of lab@1 (░)

STAGE               AT      TOOK    MEDIAN
dhcp              0.0s      2.0s      2.0s  ██
kernel            2.0s      6.0s      2.0s   ███████
swarm             8.0s     12.0s      6.0s     ░░░░█████████████
ready                                                ░
`
	if got := out.String(); got != want {
		t.Errorf("Timeline wrote\n%s\nwant\n%s", got, want)
	}
}

func TestPast(t *testing.T) {
	var out strings.Builder
	err := Past(&out, []fleet.Timeline{
		{Image: "lab@2", Stages: map[stage.Stage]int64{stage.DHCP: 0, stage.Ready: 12345, stage.Complete: 20000}},
		{Image: "lab@1", Stages: map[stage.Stage]int64{stage.DHCP: 0}, Failed: stage.Root, Reason: "disk full"},
		{Image: "lab@1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"12.3s", "20.0s", "up", "failed at root: disk full", "did not reach its login"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("Past wrote\n%s\nwant %q in it", out.String(), want)
		}
	}
}
