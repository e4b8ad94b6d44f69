package importer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/images/internal/tool"
)

func TestReadTable(t *testing.T) {
	const gpt = `{"partitiontable": {"label":"gpt", "unit":"sectors", "sectorsize":512, "partitions": [
		{"node":"d1", "start":2048, "size":2048, "type":"C12A"}, {"node":"d2", "start":4096, "size":8192, "type":"0FC6"}]}}`
	parts, err := readTable([]byte(gpt))
	if err != nil || len(parts) != 2 || parts[0] != (partition{"2", 4096 * 512, 8192 * 512}) {
		t.Errorf("readTable = %v, %v; want the larger partition first", parts, err)
	}
	for _, bad := range []string{`{`, strings.Replace(gpt, "4096", "-1", 1), strings.Replace(gpt, "8192", "9e18", 1)} {
		if parts, err := readTable([]byte(bad)); err == nil {
			t.Errorf("readTable(%s) = %v; want it refused", bad, parts)
		}
	}
}

func FuzzReadTable(f *testing.F) {
	f.Add([]byte(`{"partitiontable": {"sectorsize":4096, "partitions": [{"node":"d1", "start":256, "size":1}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		parts, err := readTable(data)
		for _, p := range parts {
			if err == nil && (p.start <= 0 || p.size <= 0) {
				t.Errorf("readTable gave %+v", p)
			}
		}
	})
}

// TestDisk makes disks as installers do: with a small partition before the
// root's, in two formats, and one without a table.
func TestDisk(t *testing.T) {
	mkfs := tool.Tool{Program: "mkfs.ext4", Package: "e2fsprogs"}
	needs(t, tool.QemuImg, tool.Sfdisk, mkfs, tool.Mount)
	if loops, _ := filepath.Glob("/dev/loop[0-9]*"); len(loops) == 0 {
		t.Skip("there are no loop devices here")
	}
	want := odd(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	fs := func(name, from, size string) []byte {
		command(t, "mkfs.ext4", "-q", "-d", from, in(name), size)
		data, err := os.ReadFile(in(name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	boot := t.TempDir()
	if err := os.WriteFile(filepath.Join(boot, "vmlinuz-6.12"), []byte("kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := fs("root.ext4", want, "32M")
	disk, err := os.Create(in("disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	for offset, data := range map[int64][]byte{1 << 20: fs("boot.ext4", boot, "4M"), 8 << 20: root} {
		if _, err := disk.WriteAt(data, offset); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Truncate(48 << 20); err != nil {
		t.Fatal(err)
	}
	disk.Close()
	sfdisk := exec.CommandContext(t.Context(), "sfdisk", "--quiet", in("disk.raw"))
	sfdisk.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\nstart=%d, size=%d\nstart=%d, size=%d\n", 2048, 8192, 16384, 65536))
	if out, err := sfdisk.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	command(t, "qemu-img", "convert", "-O", "qcow2", "-c", in("disk.raw"), in("disk.qcow2"))

	for _, name := range []string{"disk.raw", "disk.qcow2", "root.ext4"} {
		t.Run(name, func(t *testing.T) {
			j := job(t, in(name))
			if err := Disk(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			if name != "root.ext4" {
				kernel := filepath.Join(j.Root, "boot/vmlinuz-6.12")
				if data, err := os.ReadFile(kernel); err != nil || string(data) != "kernel" {
					t.Errorf("kernel of the other partition: %q, %v", data, err)
				}
				if err := os.RemoveAll(filepath.Dir(kernel)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(filepath.Join(j.Root, "lost+found")); err != nil {
				t.Fatal(err)
			}
			command(t, "touch", "--reference", want, j.Root)
			same(t, want, j.Root)
		})
	}
	command(t, "mkfs.ext4", "-q", in("empty.ext4"), "4M")
	if err := Disk(t.Context(), job(t, in("empty.ext4"))); err == nil || !strings.Contains(err.Error(), "no partition with a root") {
		t.Errorf("Disk without a root = %v; want it refused", err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), "/partition ") {
		t.Errorf("mounts are left (%v):\n%s", err, mounts)
	}
}
