// Package vm is a rack of machines without the rack: QEMU machines with real
// firmware on a virtual network of their own.
//
// A LAN is a network namespace with a bridge (lan.go); each machine hangs on it
// by a cable whose rate can be set (cable.go). A Machine is one QEMU process
// (machine.go, firmware.go) that is switched by QMP (qmp.go) and read and typed
// at through its serial console (console.go, shell.go). Whatever runs on a LAN
// runs inside its namespace, so that closing the LAN ends all of it.
//
// The machine tests in appliance/e2e, the lab in appliance/cmd/lab and package
// training are the callers. Needed are root and the programs that Missing looks
// for.
package vm

import (
	"fmt"
	"os"
	"os/exec"
)

// Missing names what this computer lacks to run machines, in words for people.
func Missing() []string {
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, tool := range []struct{ program, pkg string }{
		{"ip", "iproute2"}, {"tc", "iproute2"}, {"tcpdump", "tcpdump"}, {qemuProgram, "qemu-system-x86"},
	} {
		if _, err := exec.LookPath(tool.program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (package %s)", tool.program, tool.pkg))
		}
	}
	for _, file := range []struct{ path, pkg string }{
		{ovmfCode, "ovmf"}, {ovmfVars, "ovmf"}, {secureCode, "ovmf"}, {secureVars, "ovmf"}, {biosROM, "ipxe-qemu"}, {"/dev/net/tun", "the host's kernel"},
	} {
		if _, err := os.Stat(file.path); err != nil {
			missing = append(missing, fmt.Sprintf("%s (from %s)", file.path, file.pkg))
		}
	}
	return missing
}
