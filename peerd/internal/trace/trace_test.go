package trace

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func event(length uint32, version byte, fd int32) []byte {
	e := make([]byte, 24)
	binary.NativeEndian.PutUint32(e, length)
	e[4] = version
	binary.NativeEndian.PutUint32(e[16:], uint32(fd))
	return e
}

func TestParse(t *testing.T) {
	fds, err := parse(slices.Concat(event(24, 3, 7), event(24, 3, -1), event(24, 3, 9)))
	if err != nil || !slices.Equal(fds, []int{7, 9}) {
		t.Errorf("parse = %v, %v; want 7 and 9", fds, err)
	}
	for _, bad := range [][]byte{event(24, 3, 1)[:20], event(25, 3, 1), event(0, 3, 1), event(24, 2, 1)} {
		if fds, err := parse(bad); err == nil {
			t.Errorf("parse(%v) = %v; want it refused", bad, fds)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(slices.Concat(event(24, 3, 7), event(24, 3, 9)))
	f.Fuzz(func(t *testing.T, data []byte) {
		fds, _ := parse(data)
		if len(fds) > len(data)/24 {
			t.Errorf("%d events in %d bytes", len(fds), len(data))
		}
	})
}

// A file system of its own, as a tmpfs, keeps the rest of the computer out.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("trace", dir, "tmpfs", 0, ""); err != nil {
		t.Skip("mounting needs root:", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	for _, name := range []string{"b", "a", "never"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tracer, err := Open(dir)
	if err != nil {
		t.Skip(err)
	}
	for _, name := range []string{"b", "a", "b"} {
		if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	files, err := tracer.Files(t.Context(), func() bool { asked++; return asked > 1 })
	if got := strings.Join(files, " "); err != nil || got != "/b /a" {
		t.Errorf("Files = %q, %v; want /b /a", got, err)
	}
}
