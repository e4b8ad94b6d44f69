package builder

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSquashfsRoundTrip(t *testing.T) {
	for _, tool := range []string{"mksquashfs", "unsquashfs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: apt install squashfs-tools", tool)
		}
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	content := bytes.Repeat([]byte("content "), 100_000)
	write(t, filepath.Join(root, "etc/file"), string(content))
	write(t, filepath.Join(root, "etc/old"), "made long ago")
	long := time.Unix(1_600_000_000, 0)
	if err := os.Chtimes(filepath.Join(root, "etc/old"), long, long); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(root, "etc/link")); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	var packed [2][]byte
	for n := range packed {
		out := filepath.Join(dir, "out")
		os.Remove(out)
		if err := makeSquashfs(t.Context(), discard, root, out, nil, 1_700_000_000, func(d, t int64) { done, total = d, t }); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		packed[n] = data
	}
	if !bytes.Equal(packed[0], packed[1]) {
		t.Error("the same tree gave two different files")
	}
	if total == 0 || done != total {
		t.Errorf("progress ended with %d of %d blocks", done, total)
	}

	back := filepath.Join(dir, "back")
	if out, err := exec.Command("unsquashfs", "-no-progress", "-d", back, filepath.Join(dir, "out")).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, out)
	}
	if data, err := os.ReadFile(filepath.Join(back, "etc/link")); err != nil || !bytes.Equal(data, content) {
		t.Errorf("etc/link = %d bytes, %v; want the file it points to", len(data), err)
	}
	// Times are cut off at the epoch, not set to it: Python compares them.
	if info, err := os.Stat(filepath.Join(back, "etc/old")); err != nil || !info.ModTime().Equal(long) {
		t.Errorf("etc/old: %v, %v; want its own time kept", info.ModTime(), err)
	}
}

// TestHotFilesComeFirst looks where the files of a packed tree are.
func TestHotFilesComeFirst(t *testing.T) {
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		t.Skip("mksquashfs is missing: apt install squashfs-tools")
	}
	root := t.TempDir()
	for _, name := range []string{"a", "b", "usr/share/with space", `back\slash`, "usr/share/cold"} {
		data := make([]byte, 200<<10) // does not compress, so that it can be found
		rand.NewChaCha8([32]byte([]byte(strings.Repeat(name, 32)[:32]))).Read(data)
		write(t, filepath.Join(root, name), string(data))
	}
	out := filepath.Join(t.TempDir(), "out")
	hot := []string{"/usr/share/with space", "/gone", "/usr", `/back\slash`, "/b"}
	if err := makeSquashfs(t.Context(), discard, root, out, hot, 1_700_000_000, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, name := range []string{"usr/share/with space", `back\slash`, "b", "a", "usr/share/cold"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(packed, data[:1000])
		if at <= last {
			t.Errorf("%s is at byte %d, before or at what should come sooner (%d)", name, at, last)
		}
		last = at
	}
}
