package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Firmware is what a machine does from power-on to the first byte of a loader.
type Firmware string

const (
	BIOS Firmware = "bios" // SeaBIOS, and as network card ROM the iPXE that QEMU brings
	UEFI Firmware = "uefi" // OVMF with its own network stack
)

// Where Debian's packages put firmware.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	biosROM  = "/usr/lib/ipxe/qemu/pxe-virtio.rom"
)

// arguments are QEMU's arguments for the firmware and the network card, which
// is booted first. dir takes the machine's own copy of the UEFI variables.
func (f Firmware) arguments(dir, nic, mac string) ([]string, error) {
	card := fmt.Sprintf("%s,netdev=lan,mac=%s,bootindex=1", nic, mac)
	switch f {
	case BIOS:
		// reboot-timeout: try again after 5 s instead of stopping for ever.
		return []string{"-boot", "menu=off,reboot-timeout=5000", "-device", card}, nil
	case UEFI:
		if nic != VirtioNIC {
			return nil, fmt.Errorf("network card %s: UEFI firmware has a driver for %s only", nic, VirtioNIC)
		}
		data, err := os.ReadFile(ovmfVars)
		if err != nil {
			return nil, fmt.Errorf("UEFI variables: %w", err)
		}
		vars := filepath.Join(dir, "vars.fd")
		if err := os.WriteFile(vars, data, 0o644); err != nil {
			return nil, fmt.Errorf("UEFI variables: %w", err)
		}
		return []string{
			"-drive", "if=pflash,format=raw,readonly=on,file=" + ovmfCode,
			"-drive", "if=pflash,format=raw,file=" + vars,
			// Without a ROM the firmware's own PXE client boots, as on real servers.
			"-device", card + ",romfile=",
			// A failed attempt over IPv6 costs more than a minute of waiting.
			"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no",
		}, nil
	}
	return nil, fmt.Errorf("unknown firmware %q", f)
}

// Accel is how QEMU runs a machine's code: kvm where that works, else tcg, the
// emulator. The first call finds out and takes up to ten seconds.
var Accel = sync.OnceValue(func() string {
	if _, err := os.Stat("/dev/kvm"); err == nil && accelWorks("kvm", 10*time.Second) == nil {
		return "kvm"
	}
	return "tcg"
})

// probe is a machine's whole firmware: code at the reset vector that writes to
// QEMU's exit port and so ends QEMU with a status of its own.
var probe = append(make([]byte, 64<<10-16),
	0xba, 0x01, 0x05, // mov dx, 0x501
	0xb0, 0x10, //       mov al, 0x10
	0xee, //             out dx, al
	0xf4, //             hlt
	0, 0, 0, 0, 0, 0, 0, 0, 0)

const probeStatus = 0x10<<1 | 1

// accelWorks runs the probe: /dev/kvm may exist, open and answer, and still
// never run an instruction.
func accelWorks(accel string, limit time.Duration) error {
	dir, err := os.MkdirTemp("", "vm-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rom := filepath.Join(dir, "probe.rom")
	if err := os.WriteFile(rom, probe, 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemuProgram, "-accel", accel, "-M", "q35", "-m", "16", "-nodefaults", "-display", "none",
		"-bios", rom, "-device", "isa-debug-exit,iobase=0x501,iosize=1")
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == probeStatus {
		return nil
	}
	return fmt.Errorf("a machine does not run with %s: %v", accel, err)
}
