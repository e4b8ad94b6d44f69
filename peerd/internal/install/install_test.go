package install

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"swarmboot/images"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/partition"
)

// emptyDisk is a sparse file.
func emptyDisk(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

// job is an installation of an image that is filled with a letter.
func job(t *testing.T, letter string) What {
	t.Helper()
	kernel, bios := strings.Repeat("kernel", 1<<20), strings.Repeat("B", 100*sectorSize)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, map[string]string{"/kernel": kernel, "/bios": bios}[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, bytes.Repeat([]byte(letter), 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return What{
		Install: bootargs.Install{Files: []bootargs.InstallFile{
			{Path: "/EFI/BOOT/BOOTX64.EFI", Content: "loader"},
			{Path: "/grub/grub.cfg", Content: "script"},
			{Path: "/swarmboot/kernel", URL: server.URL + "/kernel", SHA256: images.Digest([]byte(kernel))},
		}, BIOS: bootargs.InstallFile{URL: server.URL + "/bios", SHA256: images.Digest([]byte(bios))}},
		Image: image, Own: map[string][]byte{"/swarmboot/description.json": []byte("{}")},
	}
}

func TestInstallOnAnEmptyDisk(t *testing.T) {
	disk := emptyDisk(t, 2<<30)
	for _, letter := range []string{"a", "b"} { // and again, by another version
		if err := onto(t.Context(), disk, job(t, letter)); err != nil {
			t.Fatal(err)
		}
		parts, ours := find(disk)
		if !ours {
			t.Fatal("the disk does not count as ours")
		}
		got := make([]byte, 3<<20)
		if _, err := disk.ReadAt(got, parts[imagePart].start); err != nil || !bytes.Equal(got, bytes.Repeat([]byte(letter), 3<<20)) {
			t.Errorf("the image partition does not hold the image (%v)", err)
		}
		fs, err := fat32.Read(file.New(disk, true), parts[bootPart].size, parts[bootPart].start, sectorSize)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]int{"/EFI/BOOT/BOOTX64.EFI": 6, "/grub/grub.cfg": 6, "/swarmboot/kernel": 6 << 20, "/swarmboot/description.json": 2} {
			if data, err := fs.ReadFile(name); err != nil || len(data) != want {
				t.Errorf("%s has %d bytes, %v; want %d", name, len(data), err, want)
			}
		}
		sector := begin(t, disk)[:sectorSize]
		if code := bytes.TrimRight(sector[:firstCode+6], "\x00"); !bytes.Equal(code, bytes.Repeat([]byte("B"), firstCode)) {
			t.Errorf("the first sector begins with %q", code)
		}
		if rest := begin(t, disk)[bootargs.BIOSSector*sectorSize:][:100*sectorSize]; !bytes.Equal(bytes.TrimRight(rest, "\x00"), bytes.Repeat([]byte("B"), 99*sectorSize)) {
			t.Error("the BIOS boot partition does not hold the rest of the loader")
		}
		// What go-diskfs writes is read by others, too.
		for _, c := range []struct{ want, program, args string }{
			{"", "sfdisk", "--verify " + disk.Name()},
			{"script", "mtype", "-i " + disk.Name() + "@@1M ::/grub/grub.cfg"},
			{"loader", "mtype", "-i " + disk.Name() + "@@1M ::/EFI/BOOT/BOOTX64.EFI"},
		} {
			if _, err := exec.LookPath(c.program); err != nil {
				t.Logf("not read by %s, which is missing", c.program)
				continue
			}
			out, err := exec.CommandContext(t.Context(), c.program, strings.Fields(c.args)...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%s %s: %v, %q; want %q", c.program, c.args, err, out, c.want)
			}
		}
	}
}

func TestDisksThatAreLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, disk *os.File, w *What)
		want  error
	}{
		"a file system on it": {func(t *testing.T, disk *os.File, _ *What) { writeAt(t, disk, "\x53\xef", 1024+56) }, partition.ErrTaken},
		"a table with other partitions": {func(t *testing.T, disk *os.File, w *What) {
			names[2] = "data"
			defer func() { names[2] = bootargs.WritesPartition }()
			if err := onto(t.Context(), disk, *w); err != nil {
				t.Fatal(err)
			}
		}, partition.ErrTaken},
		"a kernel that is not what was promised": {func(_ *testing.T, _ *os.File, w *What) { w.Files[2].SHA256 = images.Digest(nil) }, nil},
		"a loader that is not what was promised": {func(_ *testing.T, _ *os.File, w *What) { w.BIOS.SHA256 = images.Digest(nil) }, nil},
	} {
		disk, w := emptyDisk(t, 2<<30), job(t, "a")
		c.spoil(t, disk, &w)
		before := begin(t, disk)
		if err := onto(t.Context(), disk, w); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: install = %v; want it refused", name, err)
		}
		if !bytes.Equal(begin(t, disk), before) {
			t.Errorf("%s: the disk was written to", name)
		}
	}
}

func TestDiskThatIsTooSmall(t *testing.T) {
	disk := emptyDisk(t, 518<<20)
	if err := onto(t.Context(), disk, job(t, "a")); err == nil || !strings.Contains(err.Error(), "want 522 at least") {
		t.Errorf("install on a small disk = %v", err)
	}
	if len(bytes.TrimLeft(begin(t, disk), "\x00")) > 0 {
		t.Error("it was written to")
	}
}

// A machine that loses power while it is installed anew goes on to the network.
func TestDiskThatIsHalfWritten(t *testing.T) {
	disk, w := emptyDisk(t, 2<<30), job(t, "a")
	if err := onto(t.Context(), disk, w); err != nil {
		t.Fatal(err)
	}
	parts, _ := find(disk)
	if err := void(disk, parts[bootPart]); err != nil {
		t.Fatal(err)
	}
	if _, ours := find(disk); !ours {
		t.Error("the disk does not count as ours any more")
	}
	if code := begin(t, disk)[:2]; !bytes.Equal(code, []byte{0xcd, 0x18}) {
		t.Errorf("BIOS runs % x; want INT 18h, by which it goes on", code)
	}
}

func writeAt(t *testing.T, disk *os.File, text string, at int64) {
	t.Helper()
	if _, err := disk.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

// begin is what lies at the begin of a disk.
func begin(t *testing.T, disk *os.File) []byte {
	t.Helper()
	data := make([]byte, 4<<20)
	if _, err := disk.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return data
}

// What a disk holds was written by anybody.
func FuzzFind(f *testing.F) {
	disk, err := os.Create(filepath.Join(f.TempDir(), "disk"))
	if err != nil {
		f.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(2 << 30); err != nil {
		f.Fatal(err)
	}
	if _, err := take(disk, mib); err != nil {
		f.Fatal(err)
	}
	begin := make([]byte, 34*sectorSize) // the table
	if _, err := disk.ReadAt(begin, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(begin)
	f.Add(begin[:2*sectorSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, begin []byte) {
		disk := emptyDisk(t, 64*mib)
		if _, err := disk.WriteAt(begin[:min(len(begin), 64*mib)], 0); err != nil {
			t.Fatal(err)
		}
		parts, ours := find(disk)
		for _, p := range parts {
			if ours && (p.start < 0 || p.size < 0) {
				t.Errorf("find = %+v", parts)
			}
		}
	})
}
