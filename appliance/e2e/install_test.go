package e2e

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"swarmboot/appliance/internal/vm"
	"swarmboot/initramfs/stage"
)

// TestInstall boots a machine of each kind of firmware that is to start from its
// disk: over the network, which puts the image there; then, as the server tells it,
// from the disk; and without a server.
func TestInstall(t *testing.T) {
	needsImages(t)
	for name, firmware := range map[string]vm.Firmware{"UEFI": vm.UEFI, "SecureBoot": vm.SecureBoot, "BIOS": vm.BIOS} {
		t.Run(name, func(t *testing.T) { installs(t, firmware) })
	}
}

func installs(t *testing.T, firmware vm.Firmware) {
	m := machine{Name: "settler", MAC: "52:54:00:77:09:01", Image: "lab@1", More: "\n    install: nvme0n1"}
	if firmware == vm.SecureBoot {
		m.Loader = "secure-boot"
	}
	rack := newRackOf(t, labState(t), m)
	cfg := vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: firmware, Disk: emptyDisk(t)}
	on := rack.powerOn(cfg)
	fromDisk := func(t *testing.T) {
		t.Helper()
		startsFromDisk(t, on)
		if firmware == vm.SecureBoot {
			isLockedDown(t, on)
		}
	}
	promise(t, "its first boot puts the image on the disk", func(t *testing.T) {
		login(t, on)
		rack.server.isInstalled(t, m)
	})
	promise(t, "its next boot is from the disk, and keeps what it writes", func(t *testing.T) {
		reboots(t, on, "systemctl reboot")
		fromDisk(t)
		run(t, on.Console, "echo mine >/root/kept; sync")
		if status := rack.server.wait(t, m.MAC, stage.Ready); status.Progress != nil || status.Image != m.Image {
			t.Errorf("the server has it as %+v; want %s, without a swarm", status, m.Image)
		}
		if got := run(t, on.Console, "systemctl list-units --state=failed --plain --no-legend"); got != "" {
			t.Errorf("units failed: %s", got)
		}
	})
	promise(t, "it starts without a server too", func(t *testing.T) {
		if _, err := rack.server.stop(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := on.Kill(); err != nil { // the plug is pulled
			t.Fatal(err)
		}
		cfg.FromDisk = true // saves the minutes in which firmware looks for a server on the network
		on = rack.powerOn(cfg)
		fromDisk(t)
		if got := strings.TrimSpace(run(t, on.Console, "cat /root/kept")); got != "mine" {
			t.Errorf("/root/kept is %q", got)
		}
	})
}

// emptyDisk is the file of a disk with nothing on it.
func emptyDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	shell(t, "", "truncate", "-s", "4G", disk)
	return disk
}

// isInstalled waits until the server has heard that the image is on the disk.
func (s *server) isInstalled(t *testing.T, m machine) {
	t.Helper()
	s.wait(t, m.MAC, stage.Seeding)
	deadline := time.After(vm.Stall)
	for tick := time.Tick(time.Second); ; <-tick {
		if i := s.machine(t, m.MAC).Install; i != nil && i.Problem != "" {
			t.Fatal(i.Problem)
		} else if i != nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the server has not heard of an installation for %v", vm.Stall)
		default:
		}
	}
}

func reboots(t *testing.T, m *vm.Machine, command string) {
	t.Helper()
	if err := m.Console.Send(command + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := m.WaitReset(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// startsFromDisk logs in to a machine, which must have been started from its disk.
func startsFromDisk(t *testing.T, m *vm.Machine) {
	t.Helper()
	login(t, m)
	if got := run(t, m.Console, "tr ' ' '\\n' </proc/cmdline | grep -c swarmboot.local; hostname"); got != "1\n"+m.Config.Name {
		t.Errorf("it is %q; want %s, started from its disk", got, m.Config.Name)
	}
}
