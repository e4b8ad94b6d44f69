package builder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"swarmboot/images/internal/tool"
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

// bootstrap installs the packages into root and runs the customize program.
func bootstrap(ctx context.Context, o Options, suite, work, root string) error {
	if err := tool.Need(tool.Mmdebstrap, tool.DpkgDeb); err != nil {
		return err
	}
	deb, err := noInitramfs(ctx, o, work)
	if err != nil {
		return err
	}
	var kernel []string
	if o.KernelFrom == "" {
		kernel = []string{o.debianKernel()}
	}
	args := []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		"--architectures=" + o.Arch,
		"--include=" + strings.Join(slices.Concat(bootPackages, kernel, o.Packages), ","),
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
	if err := tool.Run(o.Log, cmd, func(line string) bool {
		if phase, is := strings.CutPrefix(line, "I: "); is && strings.HasSuffix(phase, "...") {
			o.Progress(suite+": "+strings.TrimSuffix(phase, "..."), 0, 0)
		}
		return false
	}); err != nil {
		return err
	}
	if err := tidyPackages(root); err != nil {
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
	return deb, tool.Run(o.Log, exec.CommandContext(ctx, "dpkg-deb", "--root-owner-group", "--build", tree, deb), nil)
}

// tidyPackages removes from a fresh root what came from this computer, and what
// only dpkg and apt had use for.
func tidyPackages(path string) error {
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
		"etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", // backups
		"var/cache/debconf/*-old", "var/lib/dpkg/*-old",
		"var/cache/apt/archives/lock", "var/lib/apt/lists/lock", "var/lib/dpkg/lock*", "var/cache/ldconfig/aux-cache",
		"var/log/*.log", "var/log/apt/*",
	} {
		if err := removeAll(root, pattern); err != nil {
			return err
		}
	}
	return nil
}
