// Package partition finds the partition of a machine's disk that the settings
// name, and tells whether it may be taken: nothing of somebody else's is ever
// written over.
//
// init (for what the machine writes) and peerd (for its cache) are the callers.
package partition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// ErrNone says that no partition has the name that was asked for.
var ErrNone = errors.New("no disk has a partition of that name")

// ErrTaken says that a partition holds something that is not ours.
var ErrTaken = errors.New("holds something else, and is left alone")

const (
	appears = 20 * time.Second // for a disk's driver to find its partitions

	// emptyBytes at its begin must be zero for a partition to count as empty: every
	// file system and partition table leaves a mark there.
	emptyBytes = 1 << 20
)

// Await returns the path of the device whose partition is called label in its
// disk's GPT. It waits a while for one to appear.
func Await(label string) (string, error) {
	device, err := find(os.DirFS("/sys"), label)
	for deadline := time.Now().Add(appears); errors.Is(err, ErrNone) && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		device, err = find(os.DirFS("/sys"), label)
	}
	return filepath.Join("/dev", device), err
}

// find returns the name of the device, such as nvme0n1p2. Of two that are called
// so none is the right one.
func find(sys fs.FS, label string) (device string, err error) {
	uevents, err := fs.Glob(sys, "class/block/*/uevent")
	if err != nil {
		return "", err
	}
	var found []string
	for _, name := range uevents {
		text, err := fs.ReadFile(sys, name)
		if err != nil {
			continue // unplugged meanwhile
		}
		for line := range strings.Lines(string(text)) {
			if strings.TrimSuffix(line, "\n") == "PARTNAME="+label {
				found = append(found, path.Base(path.Dir(name)))
			}
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("partition %q: %w", label, ErrNone)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("partition %q: %s are all called so; rename all but one", label, strings.Join(found, ", "))
}

// MustBeEmpty refuses a partition that somebody may still want: ErrTaken.
func MustBeEmpty(f *os.File) error {
	begin, err := io.ReadAll(io.NewSectionReader(f, 0, emptyBytes))
	if err != nil {
		return err
	}
	if len(bytes.TrimLeft(begin, "\x00")) > 0 {
		return fmt.Errorf("it %w; to give it away, run: dd if=/dev/zero of=%s bs=1M count=1", ErrTaken, f.Name())
	}
	return nil
}
