package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/appliance/internal/vm"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd"
)

// The cables are slow, so that an image is still arriving when its machine is up,
// and slower while somebody looks.
const (
	slow   = "30mbit"
	slower = "4mbit"
)

// TestBoot follows two machines with different firmware, network cards and
// images from power-on to the end, and a third that the settings do not name.
func TestBoot(t *testing.T) {
	uefi := machine{Name: "r1-uefi", MAC: "52:54:00:77:01:01", Image: "lab@1"}
	bios := machine{Name: "r1-bios", MAC: "52:54:00:77:01:02", Image: "lab12@1"}
	const stranger = "52:54:00:77:01:99"
	rack := newRack(t, uefi, bios)

	promise(t, "a machine that the settings do not name gets nothing and is named in the log", func(t *testing.T) {
		m := rack.powerOn(vm.MachineConfig{Name: "stranger", MAC: stranger, Firmware: vm.BIOS, Memory: 256})
		rack.server.logged(t, "machine="+stranger)
		if err := m.Kill(); err != nil {
			t.Fatal(err)
		}
		if answers := packets(t, rack, "udp src port 67 and udp[36:4] = 0x52540077 and udp[40:2] = 0x0199"); answers != "" {
			t.Errorf("it was answered:\n%s", answers)
		}
		if known := rack.server.machine(t, stranger); known.Stage != "" {
			t.Errorf("the server says that it has reached %s", known.Stage)
		}
	})

	t.Run("machines", func(t *testing.T) {
		t.Run("UEFI", func(t *testing.T) {
			t.Parallel()
			m := rack.powerOn(vm.MachineConfig{Name: "uefi", MAC: uefi.MAC, Firmware: vm.UEFI, Rate: slow})
			reachesLogin(t, rack, m, uefi, "trixie")
			promise(t, "reboots from inside while the root is still on FUSE", func(t *testing.T) {
				if err := m.Console.Send("reboot\n"); err != nil {
					t.Fatal(err)
				}
				if err := m.WaitReset(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
		})
		t.Run("BIOS", func(t *testing.T) {
			t.Parallel()
			m := rack.powerOn(vm.MachineConfig{Name: "bios", MAC: bios.MAC, Firmware: vm.BIOS, NIC: vm.E1000NIC, Rate: slow})
			reachesLogin(t, rack, m, bios, "bookworm")
			setRate(t, m, "")
			isTheImage(t, rack.server, m, bios)
			isHandedOver(t, rack, m, bios)
			promise(t, "powers off from inside", func(t *testing.T) {
				if err := m.Console.Send("poweroff\n"); err != nil {
					t.Fatal(err)
				}
				if err := m.WaitOff(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	})
}

// reachesLogin follows a machine until somebody can work on it, and looks at
// what it stands on while its image is still arriving.
func reachesLogin(t *testing.T, rack *rack, m *vm.Machine, want machine, suite string) {
	promise(t, "reaches login while its image is incomplete", func(t *testing.T) {
		waitLogin(t, m)
		setRate(t, m, slower)
		if err := m.Console.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		status := rack.server.wait(t, want.MAC, stage.Ready)
		switch p := status.AtReady; {
		case p == nil:
			t.Fatal("the server was not told what was there at login")
		case p.Have >= p.Pieces:
			t.Fatalf("all %d pieces were there at login", p.Pieces)
		default:
			t.Logf("login after %.1f s with %d of %d pieces", status.Times[stage.Ready].Sub(status.Times[stage.DHCP]).Seconds(), p.Have, p.Pieces)
		}
	})
	promise(t, "its root is an overlay on squashfs on a loop device on FUSE", func(t *testing.T) {
		if root := run(t, m.Console, "findmnt --noheadings --output FSTYPE /"); root != "overlay" {
			t.Errorf("/ is %q; want overlay", root)
		}
		if kind := run(t, m.Console, "blkid --probe --output value --match-tag TYPE /dev/loop0"); kind != "squashfs" {
			t.Errorf("/dev/loop0 holds %q; want squashfs", kind)
		}
		// peerd alone sees the FUSE mount: it has a mount namespace of its own.
		backing := run(t, m.Console, "cat /sys/block/loop0/loop/backing_file")
		mounts := run(t, m.Console, fmt.Sprintf("cat /proc/%d/mounts", askPeerd(t, m.Console).PID))
		if mount := mountOf(mounts, backing); !strings.HasPrefix(mount, "fuse") {
			t.Errorf("the loop device stands on %s, which is on %q; want FUSE; peerd's mounts:\n%s", backing, mount, mounts)
		}
		if now := rack.server.machine(t, want.MAC).Stage; now != stage.Ready {
			t.Errorf("the machine is at %s already; these words are worth nothing", now)
		}
	})
	promise(t, "it is the machine that the settings name", func(t *testing.T) {
		if got := run(t, m.Console, `. /etc/os-release; echo $VERSION_CODENAME $(hostname)`); got != suite+" "+want.Name {
			t.Errorf("it is %q; want %q", got, suite+" "+want.Name)
		}
		release := rack.server.image(t, want.Image).Manifest.KernelRelease
		if got := run(t, m.Console, "uname -r"); got != release {
			t.Errorf("kernel %s; want the image's own, %s", got, release)
		}
	})
}

// isTheImage reads the whole root through the loop device.
func isTheImage(t *testing.T, s *server, m *vm.Machine, want machine) {
	promise(t, "what it reads is the image, byte for byte", func(t *testing.T) {
		root := s.image(t, want.Image).Manifest.Root
		got := run(t, m.Console, fmt.Sprintf("head -c %d /dev/loop0 | sha256sum", root.Size))
		if sum, _, _ := strings.Cut(got, " "); sum != root.SHA256 {
			t.Errorf("SHA-256 of the root is %s; the manifest says %s", sum, root.SHA256)
		}
		noReadErrors(t, m.Console)
	})
}

// isHandedOver takes everything away that the root needed before hand-over.
func isHandedOver(t *testing.T, rack *rack, m *vm.Machine, want machine) {
	promise(t, "is handed over when its image is complete", func(t *testing.T) {
		status := rack.server.wait(t, want.MAC, stage.Seeding)
		if status.Times[stage.HandedOver].IsZero() {
			t.Error("it seeds, but has not told of the hand-over")
		}
		if p := status.Progress; p == nil || p.Have != p.Pieces {
			t.Errorf("progress %+v; want all pieces", p)
		}
	})
	promise(t, "goes on when peerd is killed", func(t *testing.T) {
		run(t, m.Console, "kill -9 $(grep -slzx @peer[d] /proc/[0-9]*/cmdline | cut -d / -f 3)")
		if left := run(t, m.Console, "grep -slzx @peer[d] /proc/[0-9]*/cmdline || true"); left != "" {
			t.Fatalf("still there: %s", left)
		}
		run(t, m.Console, "echo 3 > /proc/sys/vm/drop_caches")
		if said := run(t, m.Console, "find / -xdev -type f -print0 | xargs -0 cat >/dev/null"); said != "" {
			t.Errorf("reading every file: %s", said)
		}
		// perl has not run since the caches were dropped.
		if sum := run(t, m.Console, "perl -e 'print 6 * 7'"); sum != "42" {
			t.Errorf("a new program says %q; want 42", sum)
		}
		isTheImage(t, rack.server, m, want)
	})
}

// askPeerd asks on the machine itself.
func askPeerd(t *testing.T, c *vm.Console) (status peerd.Status) {
	t.Helper()
	said := run(t, c, "/run/swarmboot/bin/peerd status -o json")
	if err := json.Unmarshal([]byte(said), &status); err != nil {
		t.Fatalf("peerd status says %q: %v", said, err)
	}
	return status
}

// noReadErrors looks for what the kernel says when a read of the root fails.
func noReadErrors(t *testing.T, c *vm.Console) {
	t.Helper()
	if said := run(t, c, "dmesg | grep -iE 'I/O error|squashfs error|blocked for more' || true"); said != "" {
		t.Errorf("the kernel's log has read errors:\n%s", said)
	}
}

// packets shows those of the rack's capture that a filter chooses.
func packets(t *testing.T, r *rack, filter string) string {
	t.Helper()
	out, err := r.lan.Command(t.Context(), "tcpdump", "-n", "-r", filepath.Join(r.dir, "lan", "boot.pcap"), filter).Output()
	if err != nil {
		t.Fatalf("read the capture: %v", err)
	}
	return string(out)
}

// mountOf is the type of the file system that path is on, from the text of
// /proc/PID/mounts.
func mountOf(mounts, path string) (fstype string) {
	longest := 0
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line) // device, place, type
		if len(fields) > 2 && len(fields[1]) >= longest && strings.HasPrefix(path+"/", strings.TrimSuffix(fields[1], "/")+"/") {
			longest, fstype = len(fields[1]), fields[2]
		}
	}
	return fstype
}
