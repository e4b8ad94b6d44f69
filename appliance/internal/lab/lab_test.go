package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/settings"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

func TestOptions(t *testing.T) {
	image := &catalogue.Image{Manifest: images.Manifest{Name: "lab", Version: "1", Arch: "amd64"}}
	foreign := &catalogue.Image{Manifest: images.Manifest{Name: "lab", Version: "1", Arch: "arm64"}}
	for _, test := range []struct {
		check func(Options) error
		o     Options
		want  string
	}{
		{Options.Validate, Options{Machines: 0}, "--machines 0: want a number from 1 to 80"},
		{Options.Validate, Options{Machines: 81}, "--machines 81"},
		{Options.Validate, Options{Machines: 3, Link: "fast"}, `--link "fast": want a rate such as 100mbit`},
		{Options.missing, Options{Image: foreign}, "lab@1 is for arm64"},
		{Options.missing, Options{Image: image, Loaders: "/nonexistent"}, "swarmboot loaders fetch --dir /nonexistent"},
	} {
		if err := test.check(test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v; want %q", test.o, err, test.want)
		}
	}
	if err := (Options{Machines: MaxMachines, Link: "1gbit"}).Validate(); err != nil {
		t.Errorf("a full rack: %v; want no error", err)
	}
}

// What is written for the boot server are settings without mistakes, also with one
// machine more.
func TestSettings(t *testing.T) {
	image := &catalogue.Image{Manifest: images.Manifest{Name: "lab", Version: "1"}}
	l := &Lab{dir: filepath.Join(t.TempDir(), "it's here")}
	if err := os.Mkdir(l.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	offered := func(string) ([]images.Ref, error) { return []images.Ref{image.Manifest.Ref()}, nil }
	err := l.writeSettings(Options{Image: image, Loaders: "/loaders", Initramfs: "/initramfs"}, []machine{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.addSettings(3); err != nil {
		t.Fatal(err)
	}
	s, err := settings.Load(l.settingsFile(), offered)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Machines) != 3 || s.State != string(l.state()) {
		t.Fatalf("the settings have the machines %v and the state folder %s; want 3, and %s", s.Machines, s.State, l.state())
	}
	for i, m := range s.Machines {
		if want := machine(i + 1); m.Name != want.Name() || m.MAC.String() != want.MAC() || m.Address.String() != want.Address() || len(m.AuthorizedKeys) != 1 {
			t.Errorf("machine %d is %+v; want %s with a key to log in by", i, m, want.Name())
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
