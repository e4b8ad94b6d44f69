package handover

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inits are tried in this order, as the kernel does.
var inits = []string{"/sbin/init", "/lib/systemd/systemd", "/bin/sh"}

// Switch makes the root the machine's root and executes the image's init in
// this process. So it returns only if that failed, and then has undone all: the
// caller stands in the initramfs and the root is unmounted.
func (r *Root) Switch() error {
	initramfs, err := openDir("/")
	if err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	defer unix.Close(initramfs)
	root, err := openDir(r.path)
	if err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	defer unix.Close(root)

	err = enter(root)
	if err == nil {
		err = execFirst(inits)
	}
	return errors.Join(fmt.Errorf("switch root: %w", err), r.leave(root, initramfs))
}

// enter moves the root over "/", as switch_root(8) does: pivot_root(2) does not
// work on an initramfs.
func enter(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return os.Chdir("/")
}

// leave undoes enter, however far it came. The moved root hides the initramfs
// and has no name there any more; only the two descriptors reach them.
func (r *Root) leave(root, initramfs int) error {
	if err := errors.Join(unix.Fchdir(initramfs), unix.Chroot(".")); err != nil {
		return fmt.Errorf("return to the initramfs: %w", err)
	}
	if err := errors.Join(unix.Fchdir(root), unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/")); err != nil {
		return fmt.Errorf("unmount the root: %w", err)
	}
	r.mounted = slices.DeleteFunc(r.mounted, func(target string) bool { return strings.HasPrefix(target, r.path) })
	return r.Unmount()
}

// execFirst executes the first of paths that exists.
func execFirst(paths []string) error {
	for _, path := range paths {
		err := syscall.Exec(path, []string{path}, os.Environ())
		if !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("execute %s: %w", path, err)
		}
	}
	return fmt.Errorf("the image has no init: none of %s", strings.Join(paths, ", "))
}

func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}
