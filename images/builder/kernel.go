package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"swarmboot/images/internal/tool"
)

// kernelPlaces are where distributions put their kernels, with the release (as
// uname -r tells it) in place of the star. Debian and its kind do the first,
// Fedora and Arch also the second.
var kernelPlaces = []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz"}

// moduleFolders are where modules are. The first is where merged-usr systems
// really have them.
var moduleFolders = []string{"usr/lib/modules", "lib/modules"}

// findKernel chooses the kernel of a root: the one whose release is want, or
// the only one. Only a kernel with modules counts.
func findKernel(root *os.Root, want string) (name, release string, err error) {
	found := map[string]string{} // file by release
	for _, pattern := range kernelPlaces {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return "", "", err
		}
		before, after, _ := strings.Cut(pattern, "*")
		for _, name := range names {
			release := strings.TrimSuffix(strings.TrimPrefix(name, before), after)
			if info, err := root.Stat(name); err == nil && info.Mode().IsRegular() && found[release] == "" && moduleFolder(root, release) != "" {
				found[release] = name
			}
		}
	}
	var releases []string
	for release := range found {
		releases = append(releases, release)
	}
	slices.Sort(releases)
	switch {
	case want != "" && found[want] != "":
		return found[want], want, nil
	case len(found) == 0:
		return "", "", errors.New("it has no kernel with modules; take one from elsewhere with --kernel-from, as debian:trixie")
	case want != "" || len(found) > 1:
		return "", "", fmt.Errorf("it has the kernels %s; choose one with --kernel", strings.Join(releases, ", "))
	}
	return found[releases[0]], releases[0], nil
}

// moduleFolder is where in a root the modules of a kernel are, or empty.
func moduleFolder(root *os.Root, release string) string {
	for _, folder := range moduleFolders {
		if info, err := root.Stat(path.Join(folder, release)); err == nil && info.IsDir() {
			return path.Join(folder, release)
		}
	}
	return ""
}

// takeKernel moves the kernel out of the root at dir, where no machine would
// read it. The bytes stay as the distribution signed them. It returns the
// kernel's release and the folder of its modules.
func takeKernel(dir, want, kernel string) (release, modules string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", "", err
	}
	defer root.Close()
	name, release, err := findKernel(root, want)
	if err != nil {
		return "", "", err
	}
	if err := os.Rename(filepath.Join(dir, name), kernel); err != nil {
		return "", "", err
	}
	return release, filepath.Join(dir, moduleFolder(root, release)), nil
}

// addKernel puts the kernel and the modules of another source into root.
func addKernel(ctx context.Context, o Options, from source, work, root string) (release string, err error) {
	other := filepath.Join(work, "root")
	if err := os.Mkdir(work, 0o711); err != nil {
		return "", err
	}
	want := o.Kernel
	o.Warn = func(string) {} // most of what is there does not come into the image
	if from.kind == "debian" {
		want = "" // the package, alone
		err = extractKernel(ctx, o, from.place, other)
	} else {
		err = from.unpack(ctx, o, filepath.Join(work, "unpack"), other)
	}
	if err != nil {
		return "", err
	}
	inside, err := os.OpenRoot(other)
	if err != nil {
		return "", err
	}
	defer inside.Close()
	kernel, release, err := findKernel(inside, want)
	if err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	target, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer target.Close()
	// Programs look into /lib/modules; where /lib is a link, to usr/lib.
	folder := moduleFolders[1]
	if info, err := target.Lstat("lib"); err != nil || !info.IsDir() {
		folder = moduleFolders[0]
	}
	for _, dir := range []string{"boot", folder} {
		if err := target.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := target.RemoveAll(path.Join(folder, release)); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(other, kernel), filepath.Join(root, "boot", "vmlinuz-"+release)); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(other, moduleFolder(inside, release)), filepath.Join(root, folder, release)); err != nil {
		return "", err
	}
	return release, nil
}

// extractKernel unpacks a kernel's package, and those that it depends on,
// without installing them.
func extractKernel(ctx context.Context, o Options, suite, root string) error {
	args := []string{
		"--mode=root", "--variant=extract", "--format=directory", "--architectures=" + o.Arch,
		"--include=" + o.debianKernel(), suite, root,
	}
	if o.Mirror != "" {
		args = append(args, o.Mirror)
	}
	if err := tool.Need(tool.Mmdebstrap); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS} // as in bootstrap
	return tool.Run(o.Log, cmd, nil)
}

// debianKernel is the kernel's package.
func (o Options) debianKernel() string {
	if o.Kernel == "" {
		return "linux-image-" + o.Arch // Debian's names for amd64 and arm64 are Go's
	}
	return o.Kernel
}

// indexModules makes depmod's lists where a package was only unpacked.
func indexModules(ctx context.Context, o Options, root, modules string) error {
	if _, err := os.Stat(filepath.Join(modules, "modules.dep")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return tool.Run(o.Log, exec.CommandContext(ctx, "depmod", "-b", root, filepath.Base(modules)), nil)
}
