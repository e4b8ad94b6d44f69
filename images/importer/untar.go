package importer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An untarrer writes tar archives into one root, one over the other. It opens
// parent folders through an os.Root and names everything else relative to
// those, so that no link in an archive leads it outside.
type untarrer struct {
	root *os.Root
	// Folders get their times last, since writing into them changes these.
	times map[string]folderTimes
	acls  []string // names of entries that had POSIX ACLs
}

type folderTimes struct{ accessed, modified time.Time }

func newUntarrer(dir string) (*untarrer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &untarrer{root: root, times: map[string]folderTimes{}}, nil
}

// close sets the times of the folders.
func (u *untarrer) close() error {
	defer u.root.Close()
	for _, name := range slices.Sorted(maps.Keys(u.times)) {
		if err := u.root.Chtimes(name, u.times[name].accessed, u.times[name].modified); err != nil {
			return err
		}
	}
	return nil
}

// Names in a layer that say what of the layers below is gone (whiteouts of the
// OCI image specification, "Representing Changes").
const (
	whiteout       = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
)

// apply unpacks one archive. In a layer of a container image whiteouts are
// obeyed; elsewhere they are files like others.
func (u *untarrer) apply(r io.Reader, layer bool) error {
	made := map[string]bool{} // in this layer, so no whiteout in it means them
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			// Past the end of an archive nothing counts, but a pipe wants to be
			// emptied and a checksum to be complete.
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		name, err := u.resolve(h.Name)
		if err != nil {
			return err
		}
		base, dir := path.Base(name), path.Dir(name)
		switch {
		case layer && base == opaqueWhiteout:
			err = u.hideBelow(dir, made)
		case layer && strings.HasPrefix(base, whiteout+whiteout):
			// bookkeeping of aufs
		case layer && strings.HasPrefix(base, whiteout):
			err = u.hide(path.Join(dir, strings.TrimPrefix(base, whiteout)), made)
		default:
			err = u.put(name, h, archive)
			for ; name != "."; name = path.Dir(name) {
				made[name] = true
			}
		}
		if err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
}

// resolve returns the clean name of an entry: links among its parents are
// followed as the finished system will follow them, so an absolute one begins
// at the root. The last element is not followed.
func (u *untarrer) resolve(name string) (string, error) {
	todo := strings.Split(strings.TrimPrefix(path.Clean("/"+name), "/"), "/")
	done := "."
	for links := 0; len(todo) > 1; {
		next := path.Join(done, todo[0])
		todo = todo[1:]
		target, err := u.root.Readlink(next)
		if err != nil { // no link, or not there yet
			done = next
			continue
		}
		if links++; links > 40 { // as many as Linux follows
			return "", fmt.Errorf("%q: too many links", name)
		}
		if !path.IsAbs(target) {
			target = path.Join("/", done, target)
		}
		todo = append(strings.Split(strings.TrimPrefix(path.Clean(target), "/"), "/"), todo...)
		done = "."
	}
	return path.Join(done, todo[0]), nil
}

// hide removes what lower layers have under name.
func (u *untarrer) hide(name string, made map[string]bool) error {
	if !made[name] {
		return u.remove(name)
	}
	return u.hideBelow(name, made)
}

// remove removes name and all below it.
func (u *untarrer) remove(name string) error {
	maps.DeleteFunc(u.times, func(folder string, _ folderTimes) bool {
		return folder == name || strings.HasPrefix(folder, name+"/")
	})
	return u.root.RemoveAll(name)
}

func (u *untarrer) hideBelow(dir string, made map[string]bool) error {
	info, err := u.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(u.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := u.hide(path.Join(dir, entry.Name()), made); err != nil {
			return err
		}
	}
	return nil
}

// put makes one entry, in place of what has its name.
func (u *untarrer) put(name string, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	isDir := h.Typeflag == tar.TypeDir
	if name == "." && !isDir {
		return errors.New("the root of an archive is a folder")
	}
	if err := u.mkParents(path.Dir(name)); err != nil {
		return err
	}
	there, err := u.root.Lstat(name)
	if err == nil && !(isDir && there.IsDir()) {
		err = u.remove(name)
		there = nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent, err := u.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer parent.Close()
	at := place{int(parent.Fd()), path.Base(name)}

	if h.PAXRecords[accessACL] != "" || h.PAXRecords[defaultACL] != "" {
		u.acls = append(u.acls, path.Join("/", name))
	}
	mode := modeOf(h)
	switch h.Typeflag {
	case tar.TypeDir:
		if there == nil {
			err = unix.Mkdirat(at.dir, at.base, mode)
		}
		u.times[name] = folderTimes{h.AccessTime, h.ModTime}
	case tar.TypeReg, tar.TypeGNUSparse:
		err = at.write(content, h.Size)
	case tar.TypeLink:
		target, err := u.resolve(h.Linkname)
		if err != nil {
			return err
		}
		if err := u.root.Link(target, name); err != nil {
			return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
		}
		return nil // it has the attributes of its other name
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, at.dir, at.base)
	case tar.TypeChar:
		err = unix.Mknodat(at.dir, at.base, unix.S_IFCHR|mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeBlock:
		err = unix.Mknodat(at.dir, at.base, unix.S_IFBLK|mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeFifo:
		err = unix.Mknodat(at.dir, at.base, unix.S_IFIFO|mode, 0)
	default:
		err = fmt.Errorf("entry of unknown type %q", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return at.dress(h)
}

// mkParents makes folders that no entry is there for. Their time is the oldest,
// not that of the unpacking, so that each time the same comes of it.
func (u *untarrer) mkParents(dir string) error {
	for name := dir; name != "."; name = path.Dir(name) {
		if _, err := u.root.Lstat(name); err == nil {
			break
		}
		u.times[name] = folderTimes{time.Unix(0, 0), time.Unix(0, 0)}
	}
	return u.root.MkdirAll(dir, 0o755)
}

// A place is a name in an open folder.
type place struct {
	dir  int
	base string
}

// write makes a regular file. Where size bytes are zero it has holes.
func (p place) write(content io.Reader, size int64) error {
	fd, err := unix.Openat(p.dir, p.base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), p.base)
	defer f.Close()
	if _, err := io.CopyBuffer(&holes{f: f}, struct{ io.Reader }{content}, make([]byte, 64<<10)); err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// holes writes to a new file, but leaves blocks of zeros out.
type holes struct {
	f  *os.File
	at int64
}

var zeros = make([]byte, 4<<10)

func (h *holes) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		block := rest[:min(len(rest), len(zeros))]
		rest = rest[len(block):]
		if !bytes.Equal(block, zeros[:len(block)]) {
			if _, err := h.f.WriteAt(block, h.at); err != nil {
				return 0, err
			}
		}
		h.at += int64(len(block))
	}
	return len(p), nil
}

// Names of the records that hold extended attributes, which begin so, and POSIX
// ACLs: of an entry, and for new ones in a folder.
const (
	xattr      = "SCHILY.xattr."
	accessACL  = "SCHILY.acl.access"
	defaultACL = "SCHILY.acl.default"
)

// modeOf returns the mode of an entry without its ACL. Next to one the group's bits
// are a mask, and may allow more than the group has a right to.
func modeOf(h *tar.Header) uint32 {
	mode := uint32(h.Mode & 0o7777)
	for _, rule := range strings.FieldsFunc(h.PAXRecords[accessACL], func(r rune) bool { return r == ',' || r == '\n' }) {
		if rights, ok := strings.CutPrefix(rule, "group::"); ok {
			for i, bit := range []uint32{0o040, 0o020, 0o010} {
				if !strings.ContainsRune(rights, rune("rwx"[i])) {
					mode &^= bit
				}
			}
		}
	}
	return mode
}

// dress gives what has been made its owner, mode, attributes and times, in this
// order: a change of the owner takes away set-uid bits and capabilities.
func (p place) dress(h *tar.Header) error {
	if err := unix.Fchownat(p.dir, p.base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(p.dir, p.base, modeOf(h), 0); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
	}
	for record, value := range h.PAXRecords {
		name, found := strings.CutPrefix(record, xattr)
		if !found {
			continue
		}
		// There is no lsetxattrat before Linux 6.13.
		if err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", p.dir, p.base), name, []byte(value), 0); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	if h.AccessTime.IsZero() {
		h.AccessTime = h.ModTime
	}
	times := []unix.Timespec{unix.NsecToTimespec(h.AccessTime.UnixNano()), unix.NsecToTimespec(h.ModTime.UnixNano())}
	if err := unix.UtimesNanoAt(p.dir, p.base, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}
