package importer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/images/internal/tool"
	"swarmboot/images/tree"
)

// capNetRaw is the attribute of a program with cap_net_raw=ep.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// needs skips a test that only root can do, or that needs programs.
func needs(t *testing.T, tools ...tool.Tool) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("makes files of many owners, so it needs root")
	}
	if err := tool.Need(tools...); err != nil {
		t.Skip(err)
	}
}

// odd is a folder with a file of every kind that an import could lose something
// of.
func odd(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "odd")
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	file := func(name, data string) {
		must(os.MkdirAll(filepath.Dir(in(name)), 0o755), os.WriteFile(in(name), []byte(data), 0o644))
	}
	file("sbin/init", "starts")
	file("usr/bin/ping", "needs a capability")
	file("usr/bin/su", "is set-uid")
	file("home/user/private", "is nobody else's")
	file("etc/with a space\nand a line", "is odd")
	must(
		os.Chmod(in("usr/bin/ping"), 0o755),
		unix.Setxattr(in("usr/bin/ping"), "security.capability", []byte(capNetRaw), 0),
		unix.Setxattr(in("etc"), "user.note", []byte("of a folder"), 0),
		os.Chown(in("usr/bin/su"), 0, 42), unix.Chmod(in("usr/bin/su"), 0o4750),
		os.Chown(in("home/user"), 1000, 1000), os.Chown(in("home/user/private"), 1000, 100_000), os.Chmod(in("home/user/private"), 0o600),
		os.Link(in("usr/bin/su"), in("usr/bin/sudo")),
		os.Symlink("/usr/bin/su", in("usr/bin/absolute")), os.Lchown(in("usr/bin/absolute"), 7, 8),
		os.Symlink("nowhere", in("dangling")),
		os.Mkdir(in("dev"), 0o755), os.Mkdir(in("tmp"), 0o755), unix.Chmod(in("tmp"), 0o1777),
		unix.Mknod(in("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(in("dev/vda"), unix.S_IFBLK|0o660, int(unix.Mkdev(254, 300))),
		unix.Mknod(in("dev/initctl"), unix.S_IFIFO|0o600, 0),
	)
	sparse, err := os.Create(in("sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("in the midst"), 32<<20)
	must(err, sparse.Truncate(64<<20), sparse.Close())
	old := []unix.Timespec{{Sec: 1_600_000_000}, {Sec: 1_600_000_000}}
	var names []string
	must(filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		names = append(names, name)
		return err
	}))
	for _, name := range names {
		must(unix.UtimesNanoAt(unix.AT_FDCWD, name, old, unix.AT_SYMLINK_NOFOLLOW))
	}
	return dir
}

func job(t *testing.T, place string) Job {
	t.Helper()
	dir := t.TempDir()
	j := Job{
		Place: place, Root: filepath.Join(dir, "root"), Work: filepath.Join(dir, "work"), Arch: "amd64",
		Log: slog.New(slog.DiscardHandler), Progress: func(int64, int64) {}, LostACLs: func([]string) {},
	}
	if err := errors.Join(os.Mkdir(j.Root, 0o755), os.Mkdir(j.Work, 0o755)); err != nil {
		t.Fatal(err)
	}
	return j
}

// same compares two folders, and looks for the hole in the sparse file.
func same(t *testing.T, want, got string) {
	t.Helper()
	before, err := tree.Read(want)
	if err != nil {
		t.Fatal(err)
	}
	after, err := tree.Read(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range tree.Compare(before, after) {
		t.Errorf("%+v", change)
	}
	if info, err := os.Stat(filepath.Join(got, "sparse")); err != nil || info.Sys() == nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(got, "sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file takes %d bytes of disk (%v); want its holes kept", st.Blocks*512, err)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestNothingIsLost(t *testing.T) {
	needs(t)
	want := odd(t)
	for name, c := range map[string]struct {
		importer Importer
		make     func(t *testing.T, file string)
		tools    []tool.Tool
	}{
		"dir": {Dir, nil, []tool.Tool{tool.Cp}},
		"tar": {Tar, func(t *testing.T, file string) {
			command(t, "tar", "--create", "--xattrs", "--xattrs-include=*", "--sparse", "--format=pax", "-C", want, "-f", file, ".")
		}, nil},
		"tar.gz": {Tar, func(t *testing.T, file string) {
			command(t, "tar", "--create", "--gzip", "--xattrs", "--xattrs-include=*", "--format=pax", "-C", want, "-f", file, ".")
		}, nil},
		"tar.xz": {Tar, func(t *testing.T, file string) {
			command(t, "tar", "--create", "--xz", "--xattrs", "--xattrs-include=*", "--format=pax", "-C", want, "-f", file, ".")
		}, []tool.Tool{{Program: "xz", Package: "xz-utils"}}},
		"squashfs": {Squashfs, func(t *testing.T, file string) {
			command(t, "mksquashfs", want, file, "-quiet", "-no-progress")
		}, []tool.Tool{tool.Mksquashfs, tool.Unsquashfs}},
	} {
		t.Run(name, func(t *testing.T) {
			needs(t, c.tools...)
			place := want
			if c.make != nil {
				place = filepath.Join(t.TempDir(), "file")
				c.make(t, place)
			}
			j := job(t, place)
			if err := c.importer(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			same(t, want, j.Root)
		})
	}
}

// entry is one entry of an archive made by a test; a name that ends in / is a
// folder's, and a link says what it points to.
type entry struct {
	name, data string
	kind       byte
	link       string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.data)), Typeflag: e.kind, Linkname: e.link,
			Uid: os.Geteuid(), Gid: os.Getegid(), ModTime: time.Unix(1_600_000_000, 0)}
		switch {
		case e.kind != 0:
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func untar(t testing.TB, dir string, layer bool, archives ...[]byte) error {
	t.Helper()
	u, err := newUntarrer(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range archives {
		if err := u.apply(bytes.NewReader(a), layer); err != nil {
			return errors.Join(err, u.close())
		}
	}
	return u.close()
}

// files lists what a folder holds: contents of files, targets of links.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		switch {
		case d.IsDir():
			all[name+"/"] = ""
		case d.Type()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			all[name] = "-> " + target
		default:
			data, _ := os.ReadFile(path)
			all[name] = string(data)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayers(t *testing.T) {
	base := archive(t, entry{name: "etc/"}, entry{name: "etc/keep", data: "1"}, entry{name: "etc/drop", data: "1"},
		entry{name: "opt/a", data: "1"}, entry{name: "opt/sub/b", data: "1"}, entry{name: "usr/lib/x", data: "1"},
		entry{name: "lib", kind: tar.TypeSymlink, link: "/usr/lib"})
	for name, c := range map[string]struct {
		upper []entry
		want  map[string]string // how base's files are changed; "gone" is removed
	}{
		"a whiteout removes a file":            {[]entry{{name: "etc/.wh.drop"}}, map[string]string{"etc/drop": "gone"}},
		"a whiteout removes a folder":          {[]entry{{name: ".wh.opt"}}, map[string]string{"opt/": "gone", "opt/a": "gone", "opt/sub/": "gone", "opt/sub/b": "gone"}},
		"a whiteout spares its own layer":      {[]entry{{name: "etc/drop", data: "2"}, {name: "etc/.wh.drop"}}, map[string]string{"etc/drop": "2"}},
		"an opaque folder hides what is below": {[]entry{{name: "opt/"}, {name: "opt/new", data: "2"}, {name: "opt/.wh..wh..opq"}}, map[string]string{"opt/a": "gone", "opt/sub/": "gone", "opt/sub/b": "gone", "opt/new": "2"}},
		"opaque below an own folder":           {[]entry{{name: "opt/sub/c", data: "2"}, {name: "opt/.wh..wh..opq"}}, map[string]string{"opt/a": "gone", "opt/sub/b": "gone", "opt/sub/c": "2"}},
		"a whiteout of nothing":                {[]entry{{name: "etc/.wh.never"}}, nil},
		"bookkeeping of aufs":                  {[]entry{{name: ".wh..wh.plnk/1"}, {name: ".wh..wh.orph"}}, map[string]string{".wh..wh.plnk/": "", ".wh..wh.plnk/1": ""}},
		"a hard link to a lower layer":         {[]entry{{name: "etc/again", kind: tar.TypeLink, link: "etc/keep"}}, map[string]string{"etc/again": "1"}},
		"a file in place of a folder":          {[]entry{{name: "opt", data: "2"}}, map[string]string{"opt/": "gone", "opt/a": "gone", "opt/sub/": "gone", "opt/sub/b": "gone", "opt": "2"}},
		"a folder in place of a file":          {[]entry{{name: "etc/keep/"}}, map[string]string{"etc/keep": "gone", "etc/keep/": ""}},
		"a folder stays when it comes again":   {[]entry{{name: "opt/"}}, nil},
		"a file through an absolute link":      {[]entry{{name: "lib/y", data: "2"}}, map[string]string{"usr/lib/y": "2"}},
		"a file in place of a link":            {[]entry{{name: "lib", data: "2"}}, map[string]string{"lib": "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := untar(t, dir, true, base, archive(t, c.upper...)); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"etc/": "", "etc/keep": "1", "etc/drop": "1", "opt/": "", "opt/a": "1", "opt/sub/": "", "opt/sub/b": "1",
				"usr/": "", "usr/lib/": "", "usr/lib/x": "1", "lib": "-> /usr/lib"}
			for name, data := range c.want {
				if want[name] = data; data == "gone" {
					delete(want, name)
				}
			}
			got := files(t, dir)
			for name, data := range want {
				if have, ok := got[name]; !ok || have != data {
					t.Errorf("%s = %q, %v; want %q", name, have, ok, data)
				}
			}
			for name := range got {
				if _, ok := want[name]; !ok {
					t.Errorf("%s is there; want it gone", name)
				}
			}
		})
	}
}

// Only in layers are they more than names.
func TestWhiteoutInAnArchiveIsAFile(t *testing.T) {
	dir := t.TempDir()
	if err := untar(t, dir, false, archive(t, entry{name: "a", data: "1"}, entry{name: ".wh.a", data: "2"})); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 2 {
		t.Errorf("the archive became %v; want both files", got)
	}
}

func TestModeWithoutACL(t *testing.T) {
	for acl, want := range map[string]uint32{
		"": 0o2664,
		"user::rw-\nuser:alice:rw-\ngroup::r--\nmask::rw-\nother::r--\n": 0o2644,
		"user::rw-,user:alice:rw-:1000,group::---,mask::rw-,other::r--":  0o2604,
		"user::rw-,group::rwx,mask::rw-,other::r--":                      0o2664, // never more than there was
		"group::":         0o2604,
		"group:staff:r--": 0o2664,
		"\x00,,group":     0o2664,
	} {
		h := &tar.Header{Mode: 0o2664, PAXRecords: map[string]string{accessACL: acl}}
		if got := modeOf(h); got != want {
			t.Errorf("modeOf with ACL %q = %#o; want %#o", acl, got, want)
		}
	}
}

func TestUntarStaysInside(t *testing.T) {
	for name, entries := range map[string][]entry{
		"upwards":                   {{name: "../../out", data: "x"}},
		"absolute":                  {{name: "/out", data: "x"}},
		"through a link":            {{name: "a", kind: tar.TypeSymlink, link: "../.."}, {name: "a/out", data: "x"}},
		"through an absolute link":  {{name: "a", kind: tar.TypeSymlink, link: "/"}, {name: "a/out", data: "x"}},
		"through a link to a link":  {{name: "a", kind: tar.TypeSymlink, link: "b"}, {name: "b", kind: tar.TypeSymlink, link: ".."}, {name: "a/out", data: "x"}},
		"hard link upwards":         {{name: "out", kind: tar.TypeLink, link: "../../../../etc/passwd"}},
		"whiteout through a link":   {{name: "a", kind: tar.TypeSymlink, link: "../outside"}, {name: "a/.wh.kept"}},
		"opaque through a link":     {{name: "a", kind: tar.TypeSymlink, link: "../outside"}, {name: "a/.wh..wh..opq"}},
		"a circle of links":         {{name: "a", kind: tar.TypeSymlink, link: "b"}, {name: "b", kind: tar.TypeSymlink, link: "a"}, {name: "a/out", data: "x"}},
		"the root itself as a link": {{name: ".", kind: tar.TypeSymlink, link: "/etc"}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			inside, outside := filepath.Join(top, "inside"), filepath.Join(top, "outside")
			if err := errors.Join(os.Mkdir(inside, 0o755), os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "kept"), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			if err := untar(t, inside, true, archive(t, entries...)); err != nil {
				t.Log("refused:", err)
			}
			if err := os.RemoveAll(inside); err != nil {
				t.Fatal(err)
			}
			if left := files(t, top); len(left) != 2 {
				t.Errorf("outside of the folder there is %v; want it untouched", left)
			}
		})
	}
}

func TestTarEndsEarly(t *testing.T) {
	whole := archive(t, entry{name: "etc/file", data: strings.Repeat("content ", 1000)})
	file := filepath.Join(t.TempDir(), "short.tar")
	if err := os.WriteFile(file, whole[:3000], 0o600); err != nil {
		t.Fatal(err)
	}
	j := job(t, file)
	if err := Tar(t.Context(), j); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "short.tar") {
		t.Errorf("Tar = %v; want an unexpected end of short.tar", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Tar(ctx, job(t, file)); !errors.Is(err, context.Canceled) {
		t.Errorf("Tar when stopped = %v; want context.Canceled", err)
	}
}

func FuzzUntar(f *testing.F) {
	f.Add(archive(f, entry{name: "etc/"}, entry{name: "etc/file", data: "x"}, entry{name: "link", kind: tar.TypeSymlink, link: "/etc"}, entry{name: "link/y", data: "x"}), true)
	f.Add(archive(f, entry{name: "a/.wh..wh..opq"}, entry{name: ".wh.a"}, entry{name: "b", kind: tar.TypeLink, link: "../a"}), true)
	f.Add(archive(f, entry{name: "../x", data: "x"}, entry{name: "p", kind: tar.TypeFifo}), false)
	f.Fuzz(func(t *testing.T, data []byte, layer bool) {
		top := t.TempDir()
		inside := filepath.Join(top, "inside")
		if err := os.Mkdir(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := untar(t, inside, layer, data); err != nil {
			t.Skip(err)
		}
		if err := os.RemoveAll(inside); err != nil {
			t.Fatal(err)
		}
		if left := files(t, top); len(left) != 0 {
			t.Errorf("outside of the folder there is %v", left)
		}
	})
}
