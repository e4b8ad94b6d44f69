package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"swarmboot/appliance/internal/vm"
)

// TestPersistent boots a machine that keeps what it writes: on an empty
// partition, again on what the first boot has left there, now over another
// version of its image, which it is ordered to boot once, and then as its settings
// say, with a partition that is somebody else's.
func TestPersistent(t *testing.T) {
	needsImages(t)
	folder := newStateWithLab(t)
	customize := filepath.Join(t.TempDir(), "customize")
	write(t, customize, "#!/bin/sh\necho two >$1/etc/version-of-the-image\n")
	shell(t, "", "chmod", "+x", customize)
	shell(t, "", swarmbootProgram(t), "image", "build", "lab@2", "--from", "image:lab@1", "--customize", customize, "--state", folder)

	m := machine{Name: "keeper", MAC: "52:54:00:77:08:01", Image: "lab@1", More: `
    persistent: swarmboot-writes
    persistent_over: image`}
	rack := newRackOf(t, folder, m)
	disk := newDisk(t, "swarmboot-writes")
	on := rack.powerOn(vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: vm.BIOS, Disk: disk})
	promise(t, "an empty partition takes what it writes", func(t *testing.T) {
		login(t, on)
		if got := run(t, on.Console, "findmnt -no FSTYPE /; ls /etc/version-of-the-image 2>/dev/null || true"); got != "overlay" {
			t.Errorf("its root is %q; want an overlay of version 1", got)
		}
		run(t, on.Console, "echo mine >/root/kept; rm /etc/issue; mv /usr/share/common-licenses /root/")
	})
	promise(t, "its next boot finds it, over the next version of the image too", func(t *testing.T) {
		shell(t, "", swarmbootProgram(t), "machine", "reboot-into", m.Name, "lab@2", "--state", folder)
		if err := on.Console.Send("systemctl reboot\n"); err != nil {
			t.Fatal(err)
		}
		if err := on.WaitReset(t.Context()); err != nil {
			t.Fatal(err)
		}
		login(t, on)
		for command, want := range map[string]string{
			"cat /etc/version-of-the-image":     "two",
			"cat /root/kept":                    "mine",
			"ls /etc/issue 2>/dev/null || true": "",
			"ls /root/common-licenses/GPL-2":    "/root/common-licenses/GPL-2",
			"hostname":                          m.Name,
			"findmnt -no FSTYPE /run/swarmboot/writes; ls -d /run/swarmboot/writes/lab": "ext4\n/run/swarmboot/writes/lab",
			"systemctl list-units --state=failed --plain --no-legend":                   "",
		} {
			if got := run(t, on.Console, command); got != want {
				t.Errorf("%s = %q; want %q", command, got, want)
			}
		}
		noReadErrors(t, on.Console)
		if err := on.Kill(); err != nil { // the plug is pulled
			t.Fatal(err)
		}
	})
	promise(t, "the file system is whole after that", func(t *testing.T) {
		shell(t, "", "sh", "-ec", fmt.Sprintf(`dd if=%s of=%[1]s.part bs=1M skip=1 count=255 status=none
e2fsck -fy %[1]s.part || [ $? -eq 1 ] # the journal was replayed
rm %[1]s.part`, disk))
	})
	promise(t, "a partition with something else on it is left alone, and the server is told", func(t *testing.T) {
		leavesAlone(t, rack, m, disk)
	})
	promise(t, "it was ordered to boot the other version once", func(t *testing.T) {
		var booted []string
		d, err := rack.server.client.Machine(t.Context(), m.MAC)
		for _, b := range append(d.Past, *d.Boot) {
			booted = append(booted, b.Image)
		}
		if slices.Sort(booted); err != nil || !slices.Equal(booted, []string{"lab@1", "lab@1", "lab@2"}) || d.Image != "lab@1" || d.Override != nil {
			t.Errorf("it has booted %q, now %s (%+v, %v)", booted, d.Image, d.Override, err)
		}
	})
}

// newDisk makes a disk with one partition, which is empty.
func newDisk(t *testing.T, label string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "disk.raw")
	shell(t, "", "sh", "-ec", fmt.Sprintf(`truncate -s 256M %[1]s
printf 'label: gpt\nname=%s\n' | sfdisk --quiet %[1]s`, file, label))
	return file
}

// leavesAlone boots a machine whose partition has a file system of somebody else's.
func leavesAlone(t *testing.T, r *rack, m machine, disk string) {
	t.Helper()
	shell(t, "", "sh", "-ec", fmt.Sprintf(`mkfs.ext4 -q -F -E offset=1048576 %s 200M`, disk))
	before, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	on := r.powerOn(vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: vm.BIOS, Disk: disk})
	r.server.logged(t, "machine="+m.MAC, "stage=failed", "holds something else")
	if err := on.Kill(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(disk); err != nil || string(after) != string(before) {
		t.Errorf("the disk was written to (%v)", err)
	}
}
