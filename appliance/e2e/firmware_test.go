package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/vm"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

// TestFirmware boots a machine of each kind of firmware to the login prompt, and
// tells how long each stage took. make e2e-firmware runs all of them, make e2e
// only Secure Boot: the others are slow, or TestBoot does nearly the same.
func TestFirmware(t *testing.T) {
	for i, c := range []struct {
		name     string // is part of a socket's path
		firmware vm.Firmware
		loader   string
		loads    []string // words of the server's log
	}{
		{"SecureBoot", vm.SecureBoot, "secure-boot", []string{"load=shimx64.efi", "file=grubx64.efi", "file=/grub/grub.cfg", "version=GRUB"}},
		{"BIOS", vm.BIOS, "", []string{"10.77.0.1/boot.ipxe?mac=", "platform=pcbios"}},
		// The card's own iPXE comes first, then ours, and the chain ends there.
		{"BIOS-iPXE", vm.BIOS, "snponly", []string{`version="1.0.0`, `version="1.21.1`}},
		{"UEFI-iPXE", vm.UEFI, "snponly", []string{"file=snponly.efi", "10.77.0.1/boot.ipxe?mac=", "platform=efi"}},
		{"UEFI-HTTP", vm.UEFIHTTP, "", []string{"load=http://10.77.0.1/loaders/shimx64.efi", "version=GRUB"}},
		{"PXEv6-GRUB", vm.UEFIv6, "", []string{"load=tftp://[fd77::1]/shimx64.efi", "file=/grubx64.efi", "version=GRUB"}},
		{"PXEv6-iPXE", vm.UEFIv6, "snponly", []string{"load=tftp://[fd77::1]/snponly.efi", "http://[fd77::1]/boot.ipxe?mac="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if i > 0 {
				needsPatience(t)
			}
			wanted := machine{Name: "firmware", MAC: fmt.Sprintf("52:54:00:77:05:%02x", i), Image: "lab@1", Loader: c.loader}
			var rack *rack
			if c.firmware == vm.UEFIv6 {
				rack = newRackDual(t, wanted)
			} else {
				rack = newRack(t, wanted)
			}
			m := rack.powerOn(vm.MachineConfig{Name: "firmware", MAC: wanted.MAC, Firmware: c.firmware})
			bootsToLogin(t, rack, m, wanted)
			for _, words := range c.loads {
				rack.server.logged(t, words)
			}
			if c.firmware == vm.SecureBoot {
				isLockedDown(t, m)
			}
		})
	}
}

// TestFirmwareHTTPv6 boots a machine by HTTP over IPv6. Firmware tries that after
// HTTP over IPv4, so that nobody answers its DHCPv4 until it has a loader.
func TestFirmwareHTTPv6(t *testing.T) {
	needsPatience(t)
	wanted := machine{Name: "firmware", MAC: "52:54:00:77:05:20", Image: "lab@1"}
	rack := newRackDual(t, wanted)
	deaf := func(op string) {
		t.Helper()
		if out, err := rack.lan.Command(t.Context(), "iptables", op, "INPUT", "-p", "udp", "--dport", "67", "-j", "DROP").CombinedOutput(); err != nil {
			t.Fatalf("iptables %s: %v: %s", op, err, out)
		}
	}
	deaf("--append")
	m := rack.powerOn(vm.MachineConfig{Name: "firmware", MAC: wanted.MAC, Firmware: vm.UEFIHTTPv6})
	rack.server.logged(t, "machine="+wanted.MAC, "load=http://[fd77::1]/loaders/shimx64.efi")
	deaf("--delete")
	bootsToLogin(t, rack, m, wanted)
	rack.server.logged(t, "machine="+wanted.MAC, "version=GRUB")
}

// TestFirmwareBeside boots machines on a network whose addresses dnsmasq gives:
// the boot server only says what to load.
func TestFirmwareBeside(t *testing.T) {
	needsPatience(t)
	for i, firmware := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		t.Run(string(firmware), func(t *testing.T) {
			wanted := machine{Name: "beside", MAC: fmt.Sprintf("52:54:00:77:06:%02x", i), Image: "lab@1"}
			rack := newRackBeside(t, wanted)
			m := rack.powerOn(vm.MachineConfig{Name: "beside", MAC: wanted.MAC, Firmware: firmware})
			bootsToLogin(t, rack, m, wanted)
			rack.server.logged(t, "proxy dhcp", "machine="+wanted.MAC)
			if address := run(t, m.Console, "ip -4 -o address show scope global"); !fromDnsmasq.MatchString(address) {
				t.Errorf("it has %q; want an address of dnsmasq's, 10.77.0.50 to 99", address)
			}
		})
	}
}

var fromDnsmasq = regexp.MustCompile(` 10\.77\.0\.[5-9]\d/`)

// TestFirmwareRefuses has a machine with Secure Boot on load an iPXE that nobody
// has signed.
func TestFirmwareRefuses(t *testing.T) {
	needsPatience(t)
	wanted := machine{Name: "strict", MAC: "52:54:00:77:07:01", Image: "lab@1", Loader: "snponly"}
	rack := newRack(t, wanted)
	m := rack.powerOn(vm.MachineConfig{Name: "strict", MAC: wanted.MAC, Firmware: vm.SecureBoot, Memory: 512})
	rack.server.logged(t, "file=snponly.efi")
	expect(t, m, "Access Denied")
	if s := rack.server.machine(t, wanted.MAC); !s.Times[stage.Script].IsZero() {
		t.Error("it has asked for a script; want the loader not to run")
	}
}

// TestFirmwareARM64 boots a machine with another processor, through shim and
// GRUB made for it, into an image of a busybox: over the network, and then from its
// disk, where the first boot has put it.
func TestFirmwareARM64(t *testing.T) {
	needsPatience(t)
	for file, remedy := range map[string]string{
		vm.ARMCode: "package qemu-efi-aarch64", built(t, "initramfs-arm64.cpio.zst"): "make e2e-firmware makes it",
		filepath.Join(cache(t), "lab-state", "images", "refs", "arm64"): "make e2e-firmware makes it",
	} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("needs %s: %s", file, remedy)
		}
	}
	if _, err := exec.LookPath(vm.ARMProgram); err != nil {
		t.Skipf("needs %s (package qemu-system-arm)", vm.ARMProgram)
	}
	wanted := machine{Name: "arm", MAC: "52:54:00:77:08:01", Image: "arm64@1", KernelArgs: "console=ttyAMA0", More: "\n    install: nvme0n1"}
	rack := newRack(t, wanted)
	m := rack.powerOn(vm.MachineConfig{Name: "arm", MAC: wanted.MAC, Firmware: vm.ARM64, Disk: emptyDisk(t)})
	bootsToLogin(t, rack, m, wanted)
	rack.server.logged(t, "file=grubaa64.efi")
	if kind := run(t, m.Console, "uname -m"); kind != "aarch64" {
		t.Errorf("its processor is %q; want aarch64", kind)
	}
	rack.server.isInstalled(t, wanted)
	reboots(t, m, "reboot -f")
	startsFromDisk(t, m)
}

func needsPatience(t *testing.T) {
	t.Helper()
	needs(t)
	if os.Getenv("SWARMBOOT_FIRMWARE") != "1" {
		t.Skip("slow; make e2e-firmware runs it")
	}
}

// bootsToLogin waits for the login prompt and looks at what the machine stands on.
func bootsToLogin(t *testing.T, r *rack, m *vm.Machine, wanted machine) {
	t.Helper()
	login(t, m)
	status := r.server.machine(t, wanted.MAC)
	t.Log(stageTimes(status))
	if status.Boots != 1 {
		t.Errorf("the server takes it for %d boots; want 1, whichever loaders it went through", status.Boots)
	}
	if root := run(t, m.Console, "grep ' / ' /proc/mounts"); !strings.Contains(root, "overlay") {
		t.Errorf("/ is %q; want an overlay", root)
	}
	if backing := run(t, m.Console, "cat /sys/block/loop0/loop/backing_file"); backing == "" {
		t.Error("no loop device holds the root")
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

// stageTimes tells when each stage was reached, since the first packet.
func stageTimes(m fleet.MachineStatus) string {
	var b strings.Builder
	for _, s := range stage.All {
		if at, ok := m.Times[s]; ok {
			fmt.Fprintf(&b, "%s %v  ", s, at.Sub(m.Times[stage.DHCP]).Round(100*time.Millisecond))
		}
	}
	return strings.TrimSpace(b.String())
}
