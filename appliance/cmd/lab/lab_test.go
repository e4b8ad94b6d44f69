package main

import (
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

func TestObey(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want lab
		err  string
	}{
		{want: lab{machines: 3, keep: true}},
		{env: map[string]string{"LAB_MACHINES": "5", "LAB_LINK": "100mbit", "LAB_KEEP": "0"}, want: lab{machines: 5, link: "100mbit"}},
		{env: map[string]string{"LAB_MACHINES": "no"}, err: "LAB_MACHINES=no: want a number"},
		{env: map[string]string{"LAB_LINK": "fast"}, err: "LAB_LINK=fast: want a rate"},
		{env: map[string]string{"LAB_KEEP": "yes"}, err: "LAB_KEEP=yes: want 0 or 1"},
	} {
		var got lab
		err := got.obey(func(name string) string { return test.env[name] })
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("obey(%v): %v; want %q", test.env, err, test.err)
		case test.err == "" && (err != nil || got != test.want):
			t.Errorf("obey(%v) = %+v, %v; want %+v", test.env, got, err, test.want)
		}
	}
}

func TestLook(t *testing.T) {
	begun := time.Now()
	after := func(d time.Duration) time.Time { return begun.Add(d) }
	w := watch{changed: begun}
	booting := fleet.MachineStatus{Stage: stage.Root, Since: begun}
	for _, test := range []struct {
		name    string
		status  fleet.MachineStatus
		console int64
		now     time.Time
		open    bool
		lost    string
	}{
		{"just begun", fleet.MachineStatus{}, 0, after(time.Minute), true, ""},
		{"never heard of", fleet.MachineStatus{}, 0, after(6 * time.Minute), false, "has not been heard of by the boot server"},
		{"talks", booting, 900, after(7 * time.Minute), true, ""},
		{"stands still", booting, 900, after(12 * time.Minute), false, "stands still at root"},
		{"goes on all the same", booting, 901, after(13 * time.Minute), true, ""},
		{"fails", fleet.MachineStatus{Stage: stage.Failed, At: stage.Root, Reason: "no loop", Since: after(11 * time.Minute)}, 950, after(12*time.Minute + 30*time.Second), true, ""},
		{"has failed", fleet.MachineStatus{Stage: stage.Failed, At: stage.Root, Reason: "no loop", Since: after(11 * time.Minute)}, 950, after(14 * time.Minute), false, "has failed at root: no loop"},
		{"seeds", fleet.MachineStatus{Stage: stage.Seeding}, 999, after(15 * time.Minute), false, ""},
	} {
		w.status = test.status
		if open := w.look(test.console, test.now); open != test.open || w.lost != test.lost {
			t.Errorf("%s: look = %v, lost %q; want %v, %q", test.name, open, w.lost, test.open, test.lost)
		}
	}
}

func TestSummary(t *testing.T) {
	begun := time.Now()
	var b strings.Builder
	summary(&b, []fleet.MachineStatus{{
		Name:     "lab-01",
		Times:    map[stage.Stage]time.Time{stage.DHCP: begun, stage.Loader: begun.Add(1500 * time.Millisecond), stage.Ready: begun.Add(40 * time.Second)},
		AtReady:  &stage.Progress{Pieces: 400, Have: 100},
		Progress: &stage.Progress{FromPeers: 1 << 20, FromServer: 2 << 20},
	}}, []bootserver.SwarmStatus{{Image: "lab@1", ImageBytes: 10 << 20, SeederBytes: 12 << 20, Copies: 1.2}})
	said := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{"loader 1.5 ", "ready 38.5 ", "login, in all 40.0 ", "image at login 25% ", "handed-over - ",
		"the server has sent 12 MiB of lab@1's 10 MiB: 1.20 copies"} {
		if !strings.Contains(said, want) {
			t.Errorf("summary lacks %q:\n%s", want, b.String())
		}
	}
}
