package piececache

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ErrNoPartition says that no partition has the name that was asked for.
var ErrNoPartition = errors.New("no disk has a partition of that name")

// Find returns the name of the device, such as nvme0n1p2, whose partition is
// called label in its disk's GPT. sys is /sys. Of two that are called so none is
// the right one.
func Find(sys fs.FS, label string) (device string, err error) {
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
		return "", fmt.Errorf("partition %q: %w", label, ErrNoPartition)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("partition %q: %s are all called so; rename all but one", label, strings.Join(found, ", "))
}
