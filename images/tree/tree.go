// Package tree tells what a folder holds, down to owners, attributes and hard
// links, so that two can be compared.
//
// The tests of importer and builder check with it that nothing is lost between
// a source and an image; swarmboot image diff shows with it what differs
// between two.
package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A File is all there is to know of one file, folder, link or device.
type File struct {
	Mode   uint32            // type and permissions, as in st_mode
	UID    uint32            //
	GID    uint32            //
	Device uint64            // number of a device node
	Size   int64             // of a regular file, bytes
	Time   int64             // of the last change, whole seconds, which is all that a squashfs keeps
	Target string            // of a symbolic link
	SHA256 string            // of a regular file
	Same   string            // the first name of a file with several
	Xattrs map[string]string // extended attributes
}

// A Tree is what a folder holds, by path relative to it; the folder itself is ".".
type Tree map[string]File

// Read reads the folder dir. File systems mounted below it are part of it.
func Read(dir string) (Tree, error) {
	t := Tree{}
	type inode struct{ device, number uint64 }
	first := map[inode]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f := File{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Time: st.Mtim.Sec}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			id := inode{uint64(st.Dev), st.Ino}
			if f.Same = first[id]; f.Same == "" {
				f.Same, first[id] = name, name
			}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			f.Size = st.Size
			f.SHA256, err = digest(path)
		case unix.S_IFLNK:
			f.Target, err = os.Readlink(path)
		case unix.S_IFCHR, unix.S_IFBLK:
			f.Device = uint64(st.Rdev)
		}
		if err != nil {
			return err
		}
		f.Xattrs, err = xattrs(path)
		t[name] = f
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", dir, err)
	}
	return t, nil
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func xattrs(path string) (map[string]string, error) {
	size, err := unix.Llistxattr(path, nil)
	if err == unix.ENOTSUP || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("attributes of %s: %w", path, err)
	}
	names := make([]byte, size)
	if size, err = unix.Llistxattr(path, names); err != nil {
		return nil, fmt.Errorf("attributes of %s: %w", path, err)
	}
	found := map[string]string{}
	for name := range bytes.SplitSeq(bytes.TrimRight(names[:size], "\x00"), []byte{0}) {
		value := make([]byte, 64<<10) // as long as one may be
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return nil, fmt.Errorf("attribute %s of %s: %w", name, path, err)
		}
		found[string(name)] = string(value[:n])
	}
	return found, nil
}

// A Change is what differs at one path between an old tree and a new one.
type Change struct {
	Path string
	Kind string // added, removed or changed
	What string // of something changed: what of it, as "mode 755, was 644"
}

// Compare tells what there is in new that isn't so in old, in the order of the
// paths.
func Compare(old, new Tree) (changes []Change) {
	all := maps.Clone(old)
	maps.Copy(all, new)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		before, was := old[path]
		after, is := new[path]
		switch {
		case !was:
			changes = append(changes, Change{path, "added", ""})
		case !is:
			changes = append(changes, Change{path, "removed", ""})
		default:
			if what := differences(before, after); len(what) > 0 {
				changes = append(changes, Change{path, "changed", strings.Join(what, "; ")})
			}
		}
	}
	return changes
}

func differences(a, b File) (what []string) {
	differ := func(name, format string, was, is any) {
		if was != is {
			what = append(what, fmt.Sprintf("%s "+format+", was "+format, name, is, was))
		}
	}
	differ("type", "%o", a.Mode&unix.S_IFMT, b.Mode&unix.S_IFMT)
	differ("mode", "%o", a.Mode&^unix.S_IFMT, b.Mode&^unix.S_IFMT)
	differ("owner", "%d", a.UID, b.UID)
	differ("group", "%d", a.GID, b.GID)
	differ("device", "%#x", a.Device, b.Device)
	differ("size", "%d", a.Size, b.Size)
	if a.Size == b.Size && a.SHA256 != b.SHA256 {
		what = append(what, "contents")
	}
	differ("target", "%q", a.Target, b.Target)
	differ("hard link to", "%q", a.Same, b.Same)
	differ("time", "%d", a.Time, b.Time)
	for _, name := range slices.Sorted(maps.Keys(a.Xattrs)) {
		if _, is := b.Xattrs[name]; !is {
			what = append(what, "without attribute "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Xattrs)) {
		if value, was := a.Xattrs[name]; !was {
			what = append(what, "with attribute "+name)
		} else if value != b.Xattrs[name] {
			what = append(what, "another attribute "+name)
		}
	}
	return what
}
