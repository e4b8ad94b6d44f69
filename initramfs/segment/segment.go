// Package segment makes small archives that the kernel unpacks behind the common
// initramfs: a cpio for each purpose, one after the other.
//
// The keys that a machine trusts are one (initramfs.KeySegment), what a machine
// that starts from its disk knows of itself another (peerd's installation).
package segment

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/u-root/mkuimage/cpio"
)

// Align is what the start of an uncompressed segment must be a multiple of,
// counted from the start of all that the loader hands to the kernel. Zero bytes
// fill the gap.
const Align = 4

// Make returns an uncompressed archive with files by their paths, all of one mode,
// and the folders that they are in. Its length is a multiple of Align.
func Make(files map[string]string, mode fs.FileMode) ([]byte, error) {
	var records []cpio.Record
	made := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var dirs []string
		for dir := path.Dir(name); !made[dir]; dir = path.Dir(dir) {
			dirs, made[dir] = append(dirs, dir), true
		}
		for _, dir := range slices.Backward(dirs) {
			records = append(records, cpio.Directory(dir, 0o755))
		}
		records = append(records, cpio.StaticFile(name, files[name], uint64(mode)))
	}
	format, err := cpio.Format("newc") // the one that Linux unpacks
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	var segment bytes.Buffer
	w := format.Writer(&segment)
	if err := cpio.WriteRecords(w, records); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return append(segment.Bytes(), make([]byte, -segment.Len()&(Align-1))...), nil
}
