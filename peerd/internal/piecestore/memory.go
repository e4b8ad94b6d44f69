package piecestore

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// reserve is what must stay free beside the image for peerd itself and for the
// system to start: a machine that only just holds its image would not boot.
const reserve = 64 << 20

// MountMemory mounts a file system in memory at dir that has room for a file
// of size bytes. It fails if the machine has too little memory for it.
func MountMemory(dir string, size int64) error {
	free, err := freeMemory()
	if err != nil {
		return err
	}
	if free < size+reserve {
		return fmt.Errorf("too little memory for the image: it needs %s and %s beside it, and %s are free; give the machine more memory or a smaller image",
			mebibytes(size), mebibytes(reserve), mebibytes(free))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the image's folder: %w", err)
	}
	// One more MiB: the file system rounds up to pages and has an inode to keep.
	options := fmt.Sprintf("mode=0700,size=%d", size+1<<20)
	if err := unix.Mount("swarmboot", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount memory for the image at %s: %w", dir, err)
	}
	return nil
}

// Freeze makes the file system at dir read-only. It succeeds only when nobody
// has a file in it open for writing, so afterwards the image cannot change.
func Freeze(dir string) error {
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("make the image at %s read-only: %w", dir, err)
	}
	return nil
}

// freeMemory is what the kernel thinks can be used without swapping, in bytes.
func freeMemory() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("ask how much memory is free: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			var kib int64
			if _, err := fmt.Sscan(value, &kib); err != nil {
				return 0, fmt.Errorf("/proc/meminfo: %q: %w", lines.Text(), err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo does not tell MemAvailable: %w", lines.Err())
}

// mebibytes rounds up, so that what is needed is never understated.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
