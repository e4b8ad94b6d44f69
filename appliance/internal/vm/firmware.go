package vm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Firmware is what a machine does from power-on to the first byte of a loader.
type Firmware string

const (
	BIOS       Firmware = "bios"         // SeaBIOS, and as network card ROM the iPXE that QEMU brings
	UEFI       Firmware = "uefi"         // OVMF with its own network stack, by PXE
	UEFIHTTP   Firmware = "uefi-http"    // the same, by HTTP boot
	UEFIv6     Firmware = "uefi-v6"      // the same, by PXE over IPv6
	UEFIHTTPv6 Firmware = "uefi-http-v6" // the same, by HTTP boot, over IPv6 where IPv4 does not answer
	SecureBoot Firmware = "secure-boot"  // UEFI that starts only what Microsoft has signed
	ARM64      Firmware = "arm64"        // AAVMF, the same firmware for arm64, by PXE
)

// Where Debian's packages put firmware.
const (
	ovmfCode   = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars   = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	secureCode = "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"
	secureVars = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd" // with Microsoft's keys enrolled
	ARMCode    = "/usr/share/AAVMF/AAVMF_CODE.fd"
	armVars    = "/usr/share/AAVMF/AAVMF_VARS.fd"
	biosROM    = "/usr/lib/ipxe/qemu/pxe-virtio.rom"
)

// ARMProgram emulates machines with arm64; package qemu-system-arm brings it.
const ARMProgram = "qemu-system-aarch64"

// program is the QEMU for the firmware.
func (f Firmware) program() string {
	if f == ARM64 {
		return ARMProgram
	}
	return qemuProgram
}

// accel is how QEMU runs the machine's code, with what it needs to know for it.
func (f Firmware) accel() string {
	accel := "tcg"
	if f != ARM64 {
		accel = Accel()
	}
	if accel == "tcg" {
		accel = "tcg,tb-size=256" // MiB of translated code, else up to 1 GiB a machine
	}
	return accel
}

// board are QEMU's arguments for the computer around the firmware. Without a
// screen the firmware talks on the serial port.
func (f Firmware) board(screen bool) []string {
	switch f {
	case SecureBoot:
		// The keys are safe from the system only in memory that system management
		// mode alone may write.
		return []string{"-M", "q35,graphics=off,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"}
	case ARM64:
		return []string{"-M", "virt,gic-version=2", "-cpu", "cortex-a57"}
	}
	if screen {
		return []string{"-M", "q35", "-device", "VGA"}
	}
	return []string{"-M", "q35,graphics=off"}
}

// arguments are QEMU's arguments for the firmware and the network card, which
// is booted first.
func (f Firmware) arguments(nic, mac string) ([]string, error) {
	card := fmt.Sprintf("%s,netdev=lan,mac=%s,bootindex=1", nic, mac)
	switch f {
	case BIOS:
		// reboot-timeout: try again after 5 s instead of stopping for ever.
		return []string{"-boot", "menu=off,reboot-timeout=5000", "-device", card}, nil
	case UEFI, UEFIHTTP, UEFIv6, UEFIHTTPv6, SecureBoot, ARM64:
		if nic != VirtioNIC {
			return nil, fmt.Errorf("network card %s: UEFI firmware has a driver for %s only", nic, VirtioNIC)
		}
		code, vars := ovmfCode, ovmfVars
		switch f {
		case SecureBoot:
			code, vars = secureCode, secureVars
		case ARM64:
			code, vars = ARMCode, armVars
		}
		args := append(flash(code, vars),
			// Without a ROM the firmware's own PXE client boots, as on real servers.
			"-device", card+",romfile=")
		// Firmware tries PXE over IPv4, then over IPv6, then HTTP. Each attempt that
		// fails costs more than a minute of waiting.
		if f != UEFIv6 {
			args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no")
		}
		if f == UEFIHTTP || f == UEFIv6 || f == UEFIHTTPv6 {
			args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=no")
		}
		return args, nil
	}
	return nil, fmt.Errorf("unknown firmware %q", f)
}

// flash is the firmware's code, and its variables as a copy that lasts as long
// as QEMU runs.
func flash(code, vars string) []string {
	return []string{
		"-drive", "if=pflash,format=raw,readonly=on,file=" + code,
		"-drive", "if=pflash,format=raw,snapshot=on,file=" + vars,
	}
}

// Accel is how QEMU runs a machine's code: kvm where that works, else tcg, the
// emulator. The first call finds out and takes up to ten seconds.
var Accel = sync.OnceValue(func() string {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "tcg"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := probe(ctx, "kvm"); err != nil {
		return "tcg"
	}
	return "kvm"
})

// probe starts a machine without disk and network and waits until its UEFI
// firmware looks for something to boot. /dev/kvm may exist, open, and even run a
// few instructions, and still fail or crawl in code that uses memory paging, as
// firmware does.
func probe(ctx context.Context, accel string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemuProgram, append(flash(ovmfCode, ovmfVars), "-accel", accel,
		"-M", "q35,graphics=off", "-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		cancel()
		cmd.Wait()
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "BdsDxe:") {
			return nil
		}
	}
	return fmt.Errorf("a machine does not run with %s", accel)
}
