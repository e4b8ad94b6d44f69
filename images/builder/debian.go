package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// bootPackages are what a machine needs to come up, besides a kernel and what
// Debian requires anyway.
var bootPackages = []string{
	"systemd-sysv", // /sbin/init
	"dbus",         // logind, and with it the power button
	"udev",         // devices that our initramfs has no business with
	"kmod",         // their modules
	"iproute2",     // a look at the network that our initramfs has set up
}

// left out of the root: a machine without a disk is no place to read manuals.
var unpackNot = []string{
	"path-exclude=/usr/share/man/*",
	"path-exclude=/usr/share/info/*",
	"path-exclude=/usr/share/locale/*",
	"path-exclude=/usr/share/doc/*",
	"path-include=/usr/share/doc/*/copyright",
}

// bootstrap installs the packages into root, runs the customize program and
// removes what belongs to this computer or to one machine only.
func bootstrap(ctx context.Context, o Options, suite, work, root string) error {
	deb, err := noInitramfs(ctx, o, work)
	if err != nil {
		return err
	}
	args := []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		"--architectures=" + o.Arch, // Debian's names for amd64 and arm64 are Go's
		"--include=" + strings.Join(append(append(bootPackages, o.Kernel), o.Packages...), ","),
		"--essential-hook=copy-in " + deb + " /tmp",
		`--essential-hook=chroot "$1" dpkg --install /tmp/` + filepath.Base(deb),
	}
	for _, path := range unpackNot {
		args = append(args, "--dpkgopt="+path)
	}
	if o.Customize != "" {
		args = append(args, "--customize-hook="+o.Customize)
	}
	args = append(args, suite, root)
	if o.Mirror != "" {
		args = append(args, o.Mirror)
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	// In namespaces of its own: killing it then kills all that it has started,
	// and takes away its mounts of /proc, /sys and /dev, so that removing the
	// root can never reach into them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	if err := run(o.Log, cmd, nil); err != nil {
		return err
	}
	if err := tidy(root); err != nil {
		return fmt.Errorf("tidy %s: %w", root, err)
	}
	return nil
}

// noInitramfs makes a package that satisfies the kernel's dependency on a
// program that makes an initramfs. The true one would install 20 packages and
// make an initramfs that no machine ever boots.
func noInitramfs(ctx context.Context, o Options, work string) (string, error) {
	const control = `Package: swarmboot-initramfs
Version: 1
Architecture: all
Maintainer: Swarmboot <root@localhost>
Provides: linux-initramfs-tool
Description: initramfs from the Swarmboot server
 Machines that boot over the network get their initramfs from the boot server.
`
	tree := filepath.Join(work, "swarmboot-initramfs")
	if err := os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tree, "DEBIAN", "control"), []byte(control), 0o644); err != nil {
		return "", err
	}
	deb := tree + ".deb"
	return deb, run(o.Log, exec.CommandContext(ctx, "dpkg-deb", "--root-owner-group", "--build", tree, deb), nil)
}

// hostKeyUnit gives a machine its ssh host key, anew at each boot because its
// disk is memory. One kind is enough, and ed25519 takes no time to make.
const hostKeyUnit = `[Unit]
Description=SSH host key of this machine
Before=ssh.service ssh.socket
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
`

// tidy removes from a fresh root what must not be the same on all machines,
// what came from this computer, and what only dpkg and apt had use for.
func tidy(path string) error {
	root, err := os.OpenRoot(path) // follows no link out of the root
	if err != nil {
		return err
	}
	defer root.Close()

	// mmdebstrap copies these two from this computer. A customize program may
	// have written others, which stay.
	for _, name := range []string{"etc/hostname", "etc/resolv.conf"} {
		host, _ := os.ReadFile("/" + name)
		if inRoot, err := root.ReadFile(name); err == nil && bytes.Equal(host, inRoot) {
			if err := root.Remove(name); err != nil {
				return err
			}
		}
	}
	for _, pattern := range []string{
		"etc/ssh/ssh_host_*",      // a private key known to all is no key
		"vmlinuz*", "initrd.img*", // links to a kernel and an initramfs that aren't there
		"etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", // backups
		"var/cache/debconf/*-old", "var/lib/dpkg/*-old",
		"var/cache/apt/archives/lock", "var/lib/apt/lists/lock", "var/lib/dpkg/lock*", "var/cache/ldconfig/aux-cache",
		"var/lib/dbus/machine-id", "var/lib/systemd/random-seed",
		"var/log/*.log", "var/log/apt/*",
		"run/*", "tmp/*",
	} {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	// Empty, not absent: systemd then makes an ID at each boot without asking
	// the questions of a first boot on the console.
	if err := root.WriteFile("etc/machine-id", nil, 0o444); err != nil {
		return err
	}
	// /usr never changes below a machine, so its caches are as the packages left
	// them: without these marks systemd would make them anew at every boot. It
	// reads the time of /usr from inside (ConditionNeedsUpdate in systemd.unit(5)),
	// because a squashfs keeps whole seconds only.
	usr, err := root.Stat("usr")
	if err != nil {
		return err
	}
	mark := fmt.Appendf(nil, "TIMESTAMP_NSEC=%d\n", usr.ModTime().UnixNano())
	for _, name := range []string{"etc/.updated", "var/.updated"} {
		if err := root.WriteFile(name, mark, 0o644); err != nil {
			return err
		}
	}
	if _, err := root.Lstat("etc/hosts"); errors.Is(err, fs.ErrNotExist) {
		if err := root.WriteFile("etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"), 0o644); err != nil {
			return err
		}
	}
	if _, err := root.Stat("usr/sbin/sshd"); err != nil {
		return nil
	}
	return makeHostKeys(root)
}

// makeHostKeys installs hostKeyUnit.
func makeHostKeys(root *os.Root) error {
	const units, name = "etc/systemd/system/", "swarmboot-ssh-host-key.service"
	for _, wants := range []string{units + "ssh.service.wants", units + "ssh.socket.wants"} {
		if err := root.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		if err := root.Symlink("../"+name, wants+"/"+name); err != nil {
			return err
		}
	}
	return root.WriteFile(units+name, []byte(hostKeyUnit), 0o644)
}

// takeKernel moves the kernel out of root, where no machine would read it, and
// returns its release. The bytes stay as the distribution signed them.
func takeKernel(root, kernel string) (release string, err error) {
	found, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the root has %d kernels in /boot; want one: give its package with --kernel", len(found))
	}
	if err := os.Rename(found[0], kernel); err != nil {
		return "", err
	}
	return strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-"), nil
}
