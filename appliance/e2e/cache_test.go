package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"swarmboot/appliance/internal/vm"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

// TestCache boots a machine that keeps pieces on a disk: once with an empty
// partition, once with what the first boot has left there, once another version of
// the image, once taken back to the first, and once with a partition that is
// somebody else's.
func TestCache(t *testing.T) {
	needsImages(t)
	m := machine{Name: "cached", MAC: "52:54:00:77:07:01", Image: "lab@stable", More: "\n    cache: swarmboot-cache"}
	folder := newStateWithLab(t)
	becomes := func(version string) {
		t.Helper()
		shell(t, "", swarmbootProgram(t), "image", "tag", m.Image, version, "--state", folder)
	}
	becomes("lab@1")
	rack := newRackOf(t, folder, m)
	disk := newDisk(t, "swarmboot-cache")
	boot := func(t *testing.T, until stage.Stage) (fleet.MachineStatus, *vm.Machine) {
		t.Helper()
		on := rack.powerOn(vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: vm.BIOS, Disk: disk})
		login(t, on)
		return rack.server.wait(t, m.MAC, until), on
	}
	pieces := rack.server.image(t, m.Image).Manifest.Pieces
	promise(t, "its first boot keeps every piece", func(t *testing.T) {
		status, on := boot(t, stage.Seeding)
		if got := status.Progress.FromServer; got < pieces.Size/2 {
			t.Errorf("%d bytes came from the server; want the image's %d", got, pieces.Size)
		}
		said := "dmesg | grep -q 'the cache has every piece' && echo kept"
		run(t, on.Console, "for i in $(seq 60); do "+said+" && break; sleep 1; done")
		if err := on.Kill(); err != nil { // the plug is pulled
			t.Fatal(err)
		}
	})
	promise(t, "its second boot moves less than 5 % of the image", func(t *testing.T) {
		status, on := boot(t, stage.Seeding)
		if got := status.Progress.FromServer + status.Progress.FromPeers; got*20 >= pieces.Size {
			t.Errorf("%d of %d bytes came over the network", got, pieces.Size)
		} else {
			t.Logf("%d of %d bytes came over the network", got, pieces.Size)
		}
		isTheImage(t, rack.server, on, m)
		if err := on.Kill(); err != nil {
			t.Fatal(err)
		}
	})
	promise(t, "a boot of the next version moves what has changed", func(t *testing.T) {
		change := filepath.Join(t.TempDir(), "change")
		if err := os.WriteFile(change, []byte("#!/bin/sh\necho changed >$1/etc/motd; head -c 100000 /dev/urandom >$1/usr/lib/new\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		shell(t, "", swarmbootProgram(t), "image", "build", "lab@2", "--from", "image:lab@1", "--customize", change, "--state", folder)
		becomes("lab@2")
		status, on := boot(t, stage.Seeding)
		size := rack.server.image(t, m.Image).Manifest.Pieces.Size
		if got := status.Progress.FromServer + status.Progress.FromPeers; got*10 >= size {
			t.Errorf("%d of %d bytes came over the network", got, size)
		} else {
			t.Logf("%d of %d bytes came over the network", got, size)
		}
		isTheImage(t, rack.server, on, m)
		if err := on.Kill(); err != nil {
			t.Fatal(err)
		}
	})
	promise(t, "rolled back, it boots the version before, and its boots are remembered", func(t *testing.T) {
		shell(t, "", swarmbootProgram(t), "machine", "rollback", m.Name, "--state", folder)
		_, on := boot(t, stage.Ready)
		if err := on.Kill(); err != nil {
			t.Fatal(err)
		}
		d, err := rack.server.client.Machine(t.Context(), m.MAC)
		if err != nil {
			t.Fatal(err)
		}
		booted := []string{d.Boot.Image}
		for _, b := range d.Past {
			booted = append(booted, b.Image)
			if _, ready := b.Stages[stage.Ready]; !ready {
				t.Errorf("the boot of %v into %s is remembered without its login", b.Began, b.Image)
			}
		}
		if want := []string{"lab@1", "lab@2", "lab@1", "lab@1"}; !slices.Equal(booted, want) {
			t.Errorf("it has booted, the last first, %q; want %q", booted, want)
		}
		shell(t, "", swarmbootProgram(t), "machine", "release", m.Name, "--state", folder)
	})
	promise(t, "a partition with something else on it is left alone, and the server is told", func(t *testing.T) {
		leavesAlone(t, rack, m, disk)
	})
}
