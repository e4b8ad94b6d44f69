package handover

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// mount is one call of mount(2), below dir.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	options                string
}

// mounts makes a root from the file system on device: the image below, a tmpfs
// that takes the writes above, and what every init expects to find. The image
// comes first, as it alone may have to wait for the network.
func mounts(device, fstype string) []mount {
	const root = dir + "/root"
	return []mount{
		{device, dir + "/image", fstype, unix.MS_RDONLY, ""},
		{"swarmboot", dir + "/writes", "tmpfs", 0, "mode=755"},
		{"swarmboot", root, "overlay", 0, "lowerdir=" + dir + "/image,upperdir=" + dir + "/writes/upper,workdir=" + dir + "/writes/work"},
		{"devtmpfs", root + "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755"},
		{"proc", root + "/proc", "proc", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
		{"sysfs", root + "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
		{"tmpfs", root + "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
	}
}

// Mount assembles a root from the image on device. It blocks as long as the
// image's first pieces do not arrive. What a failure leaves is unmounted.
func Mount(device, fstype string) (*Root, error) {
	r := &Root{path: dir + "/root"}
	for _, m := range mounts(device, fstype) {
		if err := r.mount(m); err != nil {
			return nil, errors.Join(err, r.Unmount())
		}
	}
	return r, nil
}

func (r *Root) mount(m mount) error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if m.fstype == "overlay" {
		for _, d := range []string{dir + "/writes/upper", dir + "/writes/work"} {
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
