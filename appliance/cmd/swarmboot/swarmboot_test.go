package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/bootserver"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"

	"github.com/spf13/cobra"
)

// swarmboot runs the command as main does, but for the exit.
func swarmboot(t *testing.T, args ...string) (stdout, failure string) {
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	if err := root.ExecuteContext(t.Context()); err != nil {
		failure = explain(err)
	}
	return out.String(), failure
}

func TestEveryCommandHasAManual(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s: its help lacks a summary, a text or an example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand())
}

func TestHelpTeachesTheFourVerbs(t *testing.T) {
	help, _ := swarmboot(t, "--help")
	for _, verb := range []string{"swarmboot image build lab@1", "swarmboot check", "swarmboot serve --config", "swarmboot machine list"} {
		if !strings.Contains(help, verb) {
			t.Errorf("help does not show %q", verb)
		}
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	for want, args := range map[string][]string{
		`unknown command "frob"`: {"machine", "frob"},
		`--config FILE`:          {"serve"},
		`want one FILE`:          {"check"},
		`want name@version`:      {"image", "build", "lab"},
		`want table or json`:     {"image", "list", "-o", "xml", "--state", t.TempDir()},
		`want text or json`:      {"serve", "--config", "x", "--log-format", "xml"},
		`list --help`:            {"machine", "list", "--frob"},
	} {
		out, failure := swarmboot(t, args...)
		if !strings.HasPrefix(failure, "swarmboot: ") || !strings.Contains(failure, want) || strings.Contains(out, "Usage:") {
			t.Errorf("%v failed with %q and printed %q; want %q and no usage", args, failure, out, want)
		}
	}
}

func TestCheck(t *testing.T) {
	config := filepath.Join(t.TempDir(), "lab.yaml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("networks: {lab: {interface: br0, address: 10.77.0.1/24}}\nserver: {state: state}\n")
	out, failure := swarmboot(t, "check", config)
	if want := config + ": ok: networks 1, machines 0, images 0\n"; out != want || failure != "" {
		t.Errorf("check printed %q, %q; want %q", out, failure, want)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(config), "state")); err == nil {
		t.Error("check made the state folder; want nothing changed")
	}

	write("networks: {lab: {interface: br0, address: 10.77.0.1/24}}\nserver: {state: state}\nunknown: maybe\ndefaults: {image: lab@1}\n")
	_, failure = swarmboot(t, "check", config)
	lines := strings.Split(failure, "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], config+":3:10: unknown: ") || !strings.HasPrefix(lines[1], config+":4:19: defaults.image: no image lab@1") {
		t.Errorf("check told\n%s\nwant both mistakes, each in a line that begins with its place", failure)
	}
}

func TestImageListOfANewState(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	if out, failure := swarmboot(t, "image", "list", "-o", "json", "--state", folder); out != "[]\n" || failure != "" {
		t.Errorf("image list printed %q, %q; want []", out, failure)
	}
}

// oneMachine is a control.Source of one machine.
type oneMachine struct{}

func (oneMachine) Machines() []bootserver.MachineStatus {
	return []bootserver.MachineStatus{{MAC: "52:54:00:77:00:01", Name: "r1-n01", Image: "lab@1", Stage: stage.Ready,
		Progress: &stage.Progress{Pieces: 4, Have: 3}}}
}
func (oneMachine) Config() control.Config {
	return control.Config{File: "lab.yaml", Loaded: time.Now(), Refused: time.Now(), Problem: "lab.yaml:1:1: one\nlab.yaml:2:1: two"}
}
func (oneMachine) InForce() bootserver.Config { return bootserver.Config{} }
func (oneMachine) Strangers() []bootserver.Stranger {
	return []bootserver.Stranger{{MAC: "52:54:00:77:00:09", Platform: "BIOS", Last: time.Now(), Inventory: &inventory.Inventory{
		Vendor: "QEMU", Product: "Standard PC", Serial: "S17", CPUs: 4, Memory: 1 << 30, Disks: []inventory.Disk{{Bytes: 1 << 40}, {Bytes: 1 << 30}},
		Cards: []inventory.Card{{}, {Switch: "sw1", Port: "Gi1/0/7"}}}}}
}
func (oneMachine) Networks() []bootserver.NetworkStatus {
	return []bootserver.NetworkStatus{{Name: "hall", Server: netip.MustParseAddr("10.77.0.1"), Subnet: "10.77.0.0/24", Mode: bootserver.Full, PoolSize: 100, PoolUsed: 7}}
}
func (oneMachine) Swarms() []bootserver.SwarmStatus {
	return []bootserver.SwarmStatus{{Image: "lab@1", Copies: 1.5}}
}

func TestMachineListAndStatus(t *testing.T) {
	folder := t.TempDir()
	if _, failure := swarmboot(t, "machine", "list", "--state", folder); !strings.Contains(failure, "start one with 'swarmboot serve'") {
		t.Errorf("machine list without a server: %q; want what to do", failure)
	}
	socket, err := control.Listen(filepath.Join(folder, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- control.Serve(ctx, socket, oneMachine{}) }()

	out, failure := swarmboot(t, "machine", "list", "--state", folder)
	for _, want := range []string{"r1-n01", "75%", "ready", "1.50"} {
		if !strings.Contains(out, want) {
			t.Errorf("machine list printed %q, %q; want %q in it", out, failure, want)
		}
	}
	out, failure = swarmboot(t, "machine", "list", "-o", "json", "--state", folder)
	var list []bootserver.MachineStatus
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Name != "r1-n01" {
		t.Errorf("machine list -o json printed %q, %q", out, failure)
	}
	out, failure = swarmboot(t, "machine", "unknown", "--state", folder)
	for _, want := range []string{"52:54:00:77:00:09", "BIOS", "QEMU Standard PC", "S17", "1.0 GiB", "1.0 TiB, 1.0 GiB", "sw1 Gi1/0/7", "0s ago"} {
		if !strings.Contains(out, want) {
			t.Errorf("machine unknown printed %q, %q; want %q in it", out, failure, want)
		}
	}
	out, failure = swarmboot(t, "status", "--state", folder)
	for _, want := range []string{"lab.yaml, loaded 0s ago", "last good ones are in force:\n          lab.yaml:1:1: one\n          lab.yaml:2:1: two\n", "hall", "7 of 100", "ready", "1.50"} {
		if !strings.Contains(out, want) {
			t.Errorf("status printed %q, %q; want %q in it", out, failure, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := endInTime(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil }); err != nil {
			t.Errorf("endInTime = %v; want nil after an orderly stop", err)
		}
		release := make(chan bool)
		began := time.Now()
		err := endInTime(ctx, func(context.Context) error { <-release; return nil })
		if err == nil || time.Since(began) != stopTime {
			t.Errorf("endInTime = %v after %v; want an error after %v", err, time.Since(began), stopTime)
		}
		close(release)
	})
}

func TestStepsInLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newSteps(&out)
		s.progress("bootstrap", 0, 0)
		time.Sleep(90 * time.Second)
		s.progress("hash", 0, 10)
		s.progress("hash", 10, 10)
		s.end(true)
		if want := "bootstrap ...\nbootstrap: done in 1m30s\nhash ...\nhash: done in 0s\n"; out.String() != want {
			t.Errorf("steps wrote %q; want %q", out.String(), want)
		}
	})
}
