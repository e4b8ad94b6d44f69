package writes

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"swarmboot/initramfs/partition"
)

func empty(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "partition")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	return name
}

// What go-diskfs makes is looked at by those who know ext4 best.
func TestEmptyPartitionBecomesAFileSystem(t *testing.T) {
	fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		t.Skip("needs e2fsck (package e2fsprogs)")
	}
	for _, size := range []int64{64 << 20, 200_000_000, 1 << 30} {
		name := empty(t, size)
		for range 2 { // as it is in the next boot
			if err := Prepare(name); err != nil {
				t.Fatalf("Prepare of %d bytes = %v", size, err)
			}
		}
		if out, err := exec.CommandContext(t.Context(), fsck, "-fn", name).CombinedOutput(); err != nil {
			t.Errorf("e2fsck of %d bytes: %v\n%s", size, err, out)
		}
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	ext4 := bytes.Repeat([]byte{0}, 2<<20)
	copy(ext4[superblock+magicOffset:], "\x53\xef")
	copy(ext4[superblock+labelOffset:], "swarmboot-not")
	swap := bytes.Repeat([]byte{0}, 2<<20)
	copy(swap[4086:], "SWAPSPACE2")
	for what, before := range map[string][]byte{"another ext4": ext4, "swap": swap} {
		name := filepath.Join(t.TempDir(), "partition")
		if err := os.WriteFile(name, before, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Prepare(name); !errors.Is(err, partition.ErrTaken) {
			t.Errorf("Prepare of %s = %v; want ErrTaken", what, err)
		}
		if after, err := os.ReadFile(name); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s was written to (%v)", what, err)
		}
	}
}

func TestOursIsKept(t *testing.T) {
	name := empty(t, 64<<20)
	if err := Prepare(name); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("kept"), 60<<20)
	}
	if err := errors.Join(err, f.Close(), Prepare(name)); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(name); err != nil || !bytes.Equal(data[60<<20:][:4], []byte("kept")) {
		t.Errorf("it was made anew (%v)", err)
	}
}
