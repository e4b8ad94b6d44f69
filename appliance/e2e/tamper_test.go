package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/e2e/vm"
	"swarmboot/bootserver"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
)

// TestTampered shows one machine three frauds, one after the other. It stops at
// each and says why, on its console and to the server.
func TestTampered(t *testing.T) {
	m1 := machine{Name: "m1", MAC: "52:54:00:77:04:01", Image: "lab@1"}
	rack := newRack(t, m1)
	image := rack.server.image(t, m1.Image)
	rack.ownImages()
	rack.trustAnother()

	kernel := rack.spoil(image.Path(catalogue.Kernel))
	m := rack.powerOn(vm.MachineConfig{Name: "m1", MAC: m1.MAC, Firmware: vm.BIOS, Rate: "100mbit"})
	promise(t, "a tampered kernel is not started", func(t *testing.T) {
		rack.server.stopped(t, m1.MAC, stage.Kernel, "SHA-256")
		says(t, m, "kernel", "SHA-256")
	})

	manifest := rack.spoil(filepath.Join(string(rack.server.state), "images", "manifests", image.Digest+".json"))
	kernel()
	promise(t, "an image with a tampered manifest is not offered", func(t *testing.T) {
		rack.server.stopped(t, m1.MAC, stage.Kernel, "manifest")
		says(t, m, "kernel", "manifest")
	})

	manifest()
	promise(t, "a boot description that another key has signed is not believed", func(t *testing.T) {
		status := rack.server.stopped(t, m1.MAC, stage.Swarm, "not signed by a trusted key")
		says(t, m, "swarm", "not signed by a trusted key")
		if !status.Times[stage.Root].IsZero() {
			t.Error("the machine has mounted a root all the same")
		}
	})
}

// ownImages gives the rack a copy of the images that it may spoil.
func (r *rack) ownImages() {
	r.t.Helper()
	shared := filepath.Join(string(r.server.state), "images")
	original, err := filepath.EvalSymlinks(shared)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.Remove(shared); err != nil {
		r.t.Fatal(err)
	}
	if err := os.CopyFS(shared, os.DirFS(original)); err != nil {
		r.t.Fatal(err)
	}
}

// spoil changes one byte in the middle of a file, and returns how to repair it.
func (r *rack) spoil(name string) (repair func()) {
	r.t.Helper()
	good, err := os.ReadFile(name)
	if err != nil {
		r.t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[len(bad)/2] ^= 1
	write := func(data []byte) {
		if err := os.WriteFile(name, data, 0o444); err != nil {
			r.t.Fatal(err)
		}
	}
	write(bad)
	return func() { write(good) }
}

// trustAnother has the machines trust another key than the server's: to them
// the server is then an impostor.
func (r *rack) trustAnother() {
	r.t.Helper()
	another, err := envelope.NewKey()
	if err != nil {
		r.t.Fatal(err)
	}
	keys, err := initramfs.KeySegment([]envelope.PublicKey{another.Public()})
	if err != nil {
		r.t.Fatal(err)
	}
	name := filepath.Join(string(r.server.state), "initramfs")
	archive, err := os.ReadFile(name)
	if err != nil {
		r.t.Fatal(err)
	}
	// The keys are last, and all keys are equally long.
	copy(archive[len(archive)-len(keys):], keys)
	if err := os.WriteFile(name, archive, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// stopped waits until the server knows that a machine has failed, where and why.
func (s *server) stopped(t *testing.T, mac string, at stage.Stage, reason string) bootserver.MachineStatus {
	t.Helper()
	deadline := time.After(2 * vm.Stall) // iPXE waits longer after each failure
	for tick := time.Tick(200 * time.Millisecond); ; {
		m := s.machine(t, mac)
		if m.Stage == stage.Failed && m.At == at && strings.Contains(m.Reason, reason) {
			t.Logf("the server says: %s", m.Reason)
			return m
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("the server says stage %q, at %q, reason %q; want failed at %q with %q", m.Stage, m.At, m.Reason, at, reason)
		}
	}
}

// says waits for a stage and a reason on the machine's console.
func says(t *testing.T, m *vm.Machine, at, reason string) {
	t.Helper()
	pattern := regexp.MustCompile(`(?s)stage:?\s+` + at + `\b.*` + regexp.QuoteMeta(reason))
	if _, _, err := m.Console.Expect(t.Context(), pattern); err != nil {
		t.Error(err)
	}
}
