package handover

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/initramfs/stage"
)

// An image may name the host, or resolve names, through links that would lead
// out of it; the files of this boot take their place.
func TestPlaceReplacesLinks(t *testing.T) {
	image, outside := t.TempDir(), filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(outside, []byte("of the initramfs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(image, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(image, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for range 2 { // a second attempt meets the files of the first
		if err := place(root, files(Furniture{Name: "r1-n01", ResolvConf: "nameserver 10.77.0.1\n"})); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		filepath.Join(image, "etc/hostname"):    "r1-n01\n",
		filepath.Join(image, "etc/resolv.conf"): "nameserver 10.77.0.1\n",
		outside:                                 "of the initramfs",
	} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestFilesLeaveTheImagesOwn(t *testing.T) {
	for _, f := range files(Furniture{}) {
		if !strings.HasPrefix(f.Path, "/run/") {
			t.Errorf("files of a boot without name and resolver has %s", f.Path)
		}
	}
}

func TestReadyUnitMakesTheReadyFile(t *testing.T) {
	unit := files(Furniture{})[0]
	if !strings.HasSuffix(unit.Path, ".service") || !strings.Contains(string(unit.Content), "ExecStart=/bin/touch "+stage.ReadyFile+"\n") {
		t.Errorf("unit %+v does not make %s", unit, stage.ReadyFile)
	}
}

// The image is mounted first: it alone waits for the network, and what comes
// later is undone first.
func TestMountsBeginWithTheImage(t *testing.T) {
	for _, c := range []struct {
		writes Writes
		fstype string
		upper  string
	}{
		{Writes{}, "tmpfs", dir + "/writes/upper"},
		{Writes{"/dev/sda1", "ext4", "lab"}, "ext4", dir + "/writes/lab/upper"},
	} {
		ms := mounts("/dev/loop0", "squashfs", c.writes)
		if ms[0].source != "/dev/loop0" || ms[1].fstype != c.fstype || ms[2].fstype != "overlay" || !strings.Contains(ms[2].options, ",upperdir="+c.upper+",") {
			t.Errorf("mounts for %+v = %+v; want the image, its writes, the overlay", c.writes, ms)
		}
	}
}

func TestExecFirstNamesWhatIsMissing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "init")
	if err := execFirst([]string{missing}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("execFirst = %v; want %s named", err, missing)
	}
	notProgram := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(notProgram, []byte("nonsense"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := execFirst([]string{missing, notProgram, "/bin/true"}); err == nil || !strings.Contains(err.Error(), notProgram) {
		t.Errorf("execFirst = %v; want %s named", err, notProgram)
	}
}
