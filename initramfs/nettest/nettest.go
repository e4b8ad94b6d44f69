// Package nettest lets a test have a network of its own. It
// is for the tests and benchmarks of packages in initramfs and bootserver that
// need real cards.
package nettest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const inside = "SWARMBOOT_TEST_INSIDE" // set to the name of the test that runs in its namespaces

// Alone runs the test anew in a network namespace and a user namespace, where it
// is root and may open any port. In there it returns true, after the commands of
// ip (without that word) have set up cards; outside it returns false when all is
// over. Where the computer has no user namespaces the test is skipped.
func Alone(t *testing.T, commands ...string) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		for _, command := range append([]string{"link set lo up"}, commands...) {
			if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", command, err, out)
			}
		}
		return true
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the command ip of package iproute2")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EACCES) {
		t.Skipf("needs user namespaces: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// AsRoot runs the whole test program anew in a network namespace, as root outside
// of it too, for what makes more namespaces. It returns true in there. What the
// tests print is seen while they run.
func AsRoot(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("in a network namespace: %v", err)
	}
	return false
}
