package delta

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"swarmboot/images"
)

// Files is Find for roots in files, which must not change meanwhile. size is that
// of the new one.
func Files(oldRoot *os.File, oldPieces images.Pieces, newRoot *os.File, size int64) (Delta, error) {
	a, err := mapped(oldRoot, oldPieces.Size)
	if err != nil {
		return Delta{}, err
	}
	defer unix.Munmap(a)
	b, err := mapped(newRoot, size)
	if err != nil {
		return Delta{}, err
	}
	defer unix.Munmap(b)
	return Find(a, oldPieces, b), nil
}

func mapped(f *os.File, size int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != size {
		return nil, fmt.Errorf("%s has %d bytes; the manifest says %d", f.Name(), info.Size(), size)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return data, nil
}
