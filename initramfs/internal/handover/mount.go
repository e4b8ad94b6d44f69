package handover

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// mount is one call of mount(2), below dir.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	options                string
}

// Writes is where a root keeps what is written to it. The zero Writes is memory.
type Writes struct {
	Device, Filesystem string // of a disk
	Folder             string // in it; other boots may have others
}

// layer mounts what takes the writes on at, and names the folder in it.
func (w Writes) layer(at string) (m mount, folder string) {
	if w.Device == "" {
		return mount{"swarmboot", at, "tmpfs", 0, "mode=755"}, at
	}
	return mount{w.Device, at, w.Filesystem, unix.MS_NOATIME, ""}, path.Join(at, w.Folder)
}

// keptOptions keep out of writes on a disk what would bind them to this image alone,
// as another version of it may lie below them in the next boot
// (Documentation/filesystems/overlayfs.rst, changes to underlying filesystems).
const keptOptions = ",redirect_dir=off,index=off,metacopy=off,xino=off"

// mounts makes a root from an image: the image below, what takes the writes above,
// and what every init expects to find. The image comes first, as it alone may have
// to wait for the network.
func mounts(device, fstype string, w Writes) []mount {
	const root = dir + "/root"
	layer, folder := w.layer(dir + "/writes")
	overlay := "lowerdir=" + dir + "/image,upperdir=" + folder + "/upper,workdir=" + folder + "/work"
	if w.Device != "" {
		overlay += keptOptions
	}
	all := []mount{
		{device, dir + "/image", fstype, unix.MS_RDONLY, ""},
		layer,
		{"swarmboot", root, "overlay", 0, overlay},
		{"devtmpfs", root + "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755"},
		{"proc", root + "/proc", "proc", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
		{"sysfs", root + "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
		{"tmpfs", root + "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
	}
	if w.Device != "" { // for an admin to look into what other versions have left there
		all = append(all, mount{dir + "/writes", root + "/run/swarmboot/writes", "", unix.MS_BIND, ""})
	}
	return all
}

// Mount assembles a root from the image on device. It blocks as long as the
// image's first pieces do not arrive. What a failure leaves is unmounted.
func Mount(device, fstype string, w Writes) (*Root, error) {
	r := &Root{path: dir + "/root"}
	_, folder := w.layer(dir + "/writes")
	for _, m := range mounts(device, fstype, w) {
		if err := r.mount(m, folder); err != nil {
			return nil, errors.Join(err, r.Unmount())
		}
	}
	return r, nil
}

// mount is one step; an overlay's writes go to folders below writes.
func (r *Root) mount(m mount, writes string) error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if m.fstype == "overlay" {
		for _, d := range []string{writes + "/upper", writes + "/work"} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("layer for writes: %w", err)
			}
		}
	}
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", m.source, m.fstype, m.target, err)
	}
	r.mounted = append(r.mounted, m.target)
	return nil
}

// Path is where the root is mounted until Switch.
func (r *Root) Path() string { return r.path }

// Unmount takes the root apart again, after a failure.
func (r *Root) Unmount() error {
	var errs []error
	for _, target := range slices.Backward(r.mounted) {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", target, err))
		}
	}
	r.mounted = nil
	return errors.Join(errs...)
}
