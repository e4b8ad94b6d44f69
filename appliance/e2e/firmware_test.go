package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/e2e/vm"
	"swarmboot/bootserver"
	"swarmboot/initramfs/stage"
)

// TestFirmware boots a machine of each kind of firmware to the login prompt, and
// tells how long each stage took. make e2e-firmware runs all of them, make e2e
// those that are quick and not elsewhere.
func TestFirmware(t *testing.T) {
	for i, c := range []struct {
		name     string
		firmware vm.Firmware
		loads    []string // in the server's log
		slow     bool
		then     func(*testing.T, *vm.Machine)
	}{
		{"BIOS", vm.BIOS, []string{"boot.ipxe"}, true, nil},
		{"SecureBoot", vm.SecureBoot, []string{"load=shimx64.efi", "file=shimx64.efi", "file=grubx64.efi", "file=/grub/grub.cfg"}, false, isLockedDown},
		{"UEFIHTTP", vm.UEFIHTTP, []string{"load=http://10.77.0.1/loaders/shimx64.efi"}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.slow && os.Getenv("SWARMBOOT_FIRMWARE") != "1" {
				t.Skip("slow; make e2e-firmware runs it")
			}
			wanted := machine{Name: "firmware", MAC: "52:54:00:77:05:0" + string(rune('0'+i)), Image: "lab@1"}
			rack := newRack(t, wanted)
			m := rack.powerOn(vm.MachineConfig{Name: "firmware", MAC: wanted.MAC, Firmware: c.firmware})
			login(t, m)
			status := rack.server.wait(t, wanted.MAC, stage.Ready)
			t.Log(stageTimes(status))
			for _, words := range c.loads {
				rack.server.logged(t, words)
			}
			if root := run(t, m.Console, "findmnt --noheadings --output FSTYPE /"); root != "overlay" {
				t.Errorf("/ is %q; want overlay", root)
			}
			if c.then != nil {
				c.then(t, m)
			}
		})
	}
}

// isLockedDown asks the kernel what the firmware has told it.
func isLockedDown(t *testing.T, m *vm.Machine) {
	t.Helper()
	said := run(t, m.Console, "dmesg | grep -i 'secure boot'")
	for _, words := range []string{"Secure boot enabled", "Kernel is locked down from EFI Secure Boot"} {
		if !strings.Contains(said, words) {
			t.Errorf("the kernel says\n%s\nwant %q", said, words)
		}
	}
	t.Logf("the kernel says:\n%s", said)
}

// stageTimes tells when each stage was reached, in seconds since the first
// packet.
func stageTimes(m bootserver.MachineStatus) string {
	var b strings.Builder
	begun := m.Times[stage.DHCP]
	for _, s := range stage.All {
		if at, ok := m.Times[s]; ok {
			b.WriteString(string(s) + " " + at.Sub(begun).Round(100*time.Millisecond).String() + "  ")
		}
	}
	return strings.TrimSpace(b.String())
}
