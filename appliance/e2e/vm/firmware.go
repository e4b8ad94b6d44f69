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
// is booted first.
func (f Firmware) arguments(nic, mac string) ([]string, error) {
	card := fmt.Sprintf("%s,netdev=lan,mac=%s,bootindex=1", nic, mac)
	switch f {
	case BIOS:
		// reboot-timeout: try again after 5 s instead of stopping for ever.
		return []string{"-boot", "menu=off,reboot-timeout=5000", "-device", card}, nil
	case UEFI:
		if nic != VirtioNIC {
			return nil, fmt.Errorf("network card %s: UEFI firmware has a driver for %s only", nic, VirtioNIC)
		}
		return append(uefiFlash(),
			// Without a ROM the firmware's own PXE client boots, as on real servers.
			"-device", card+",romfile=",
			// A failed attempt over IPv6 costs more than a minute of waiting.
			"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no"), nil
	}
	return nil, fmt.Errorf("unknown firmware %q", f)
}

// uefiFlash is the firmware's code, and its variables as a copy that lasts as
// long as QEMU runs.
func uefiFlash() []string {
	return []string{
		"-drive", "if=pflash,format=raw,readonly=on,file=" + ovmfCode,
		"-drive", "if=pflash,format=raw,snapshot=on,file=" + ovmfVars,
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
	cmd := exec.CommandContext(ctx, qemuProgram, append(uefiFlash(), "-accel", accel,
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
