// Package vm is a rack of machines without the rack: QEMU machines with real
// firmware on a virtual network of their own.
//
// A LAN is a network namespace with a bridge (lan.go); each machine hangs on it
// by a cable whose rate can be set (cable.go). A Machine is one QEMU process
// (machine.go, firmware.go) that is switched by QMP (qmp.go) and read and typed
// at through its serial console (console.go, shell.go). Whatever runs on a LAN
// runs inside its namespace, so that closing the LAN ends all of it.
//
// The machine tests in appliance/e2e, package lab and package training are
// the callers. Needed are root and the programs that Missing looks for.
package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Missing tells what this computer lacks to run machines, and what brings it.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("machines and their network take root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return errors.New("/dev/net/tun is missing: modprobe tun brings it")
	}
	var missing, packages []string
	for _, need := range []struct{ what, pkg string }{
		{"ip", "iproute2"}, {"tc", "iproute2"}, {"tcpdump", "tcpdump"}, {qemuProgram, "qemu-system-x86"},
		{ovmfCode, "ovmf"}, {ovmfVars, "ovmf"}, {secureCode, "ovmf"}, {secureVars, "ovmf"}, {biosROM, "ipxe-qemu"},
	} {
		look := exec.LookPath
		if filepath.IsAbs(need.what) { // a file, not a program
			look = filepath.EvalSymlinks
		}
		if _, err := look(need.what); err == nil {
			continue
		}
		missing = append(missing, need.what)
		if !slices.Contains(packages, need.pkg) {
			packages = append(packages, need.pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("missing: %s; apt-get install %s brings them", strings.Join(missing, ", "), strings.Join(packages, " "))
}
