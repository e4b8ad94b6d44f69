package builder

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTidy(t *testing.T) {
	root := t.TempDir()
	host, err := os.ReadFile("/etc/hostname")
	if err != nil {
		host = nil
	}
	gone := []string{
		"etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/shadow-",
		"var/lib/dbus/machine-id", "var/log/dpkg.log", "var/log/apt/history.log", "run/lock/x", "tmp/x",
	}
	kept := []string{"etc/ssh/sshd_config", "etc/shadow", "usr/sbin/sshd", "var/log/private/x", "etc/resolv.conf"}
	for _, name := range append(gone, kept...) {
		write(t, filepath.Join(root, name), name)
	}
	write(t, filepath.Join(root, "etc/machine-id"), "0123456789abcdef0123456789abcdef\n")
	if host != nil {
		write(t, filepath.Join(root, "etc/hostname"), string(host))
		gone = append(gone, "etc/hostname")
	}
	if err := os.Symlink("boot/vmlinuz-6", filepath.Join(root, "vmlinuz")); err != nil {
		t.Fatal(err)
	}
	gone = append(gone, "vmlinuz")

	if err := errors.Join(tidyPackages(root), generalizeFolder(root)); err != nil {
		t.Fatal(err)
	}
	for _, name := range gone {
		if _, err := os.Lstat(filepath.Join(root, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v; want it gone", name, err)
		}
	}
	for _, name := range kept {
		if _, err := os.Lstat(filepath.Join(root, name)); err != nil {
			t.Errorf("%v; want it kept", err)
		}
	}
	if id, err := os.ReadFile(filepath.Join(root, "etc/machine-id")); err != nil || len(id) != 0 {
		t.Errorf("etc/machine-id = %q, %v; want it empty", id, err)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/systemd/system/ssh.service.wants/swarmboot-ssh-host-key.service")); err != nil {
		t.Errorf("%v; want a unit that makes host keys", err)
	}
}

// A root may hold links to anywhere; what they point to belongs to this computer.
func TestTidyStaysInside(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "x.log"), "ours")
	if err := errors.Join(os.Mkdir(filepath.Join(root, "var"), 0o755), os.Symlink(outside, filepath.Join(root, "var/log")), os.Mkdir(filepath.Join(root, "etc"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tidyPackages(root), generalizeFolder(root)); err != nil {
		t.Log(err) // to refuse is as good
	}
	if _, err := os.Stat(filepath.Join(outside, "x.log")); err != nil {
		t.Errorf("%v; tidy followed a link out of the root", err)
	}
}

func generalizeFolder(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return generalize(root, 1_700_000_000)
}
