package builder

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDiskless(t *testing.T) {
	const fstab = `# /etc/fstab
UUID=0b1 / ext4 defaults 0 1
overlay / overlay rw 0 0
UUID=0b2 /boot ext4 defaults 0 2
LABEL=EFI /boot/efi vfat umask=0077 0 1
/dev/sdb1 none swap sw 0 0
LABEL=data /srv ext4 nofail 0 2
tmpfs /tmp tmpfs size=1g 0 0
nfs.example.org:/home /home nfs4 defaults 0 0
`
	var stay, gone []string
	for line := range strings.Lines(diskless(fstab)) {
		if strings.HasPrefix(line, "# not on") {
			gone = append(gone, line)
		} else {
			stay = append(stay, strings.Fields(line)[0])
		}
	}
	if got, want := strings.Join(stay, " "), "# LABEL=data tmpfs nfs.example.org:/home"; got != want || len(gone) != 5 {
		t.Errorf("diskless leaves %q and comments %d lines out; want %q and 5", got, len(gone), want)
	}
}

// A folder is copied with its ACLs; an archive names users of another computer.
func TestACLsAreDroppedAndTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("gives files their owners, so it needs root")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plain"), "")
	write(t, filepath.Join(dir, "etc/shared"), "")
	write(t, filepath.Join(dir, "srv/drop/file"), "")
	write(t, filepath.Join(dir, "var/log/journal/file"), "")
	// Version 2; owner, user 1000, group, mask and others, each with tag, rights and ID.
	acl := []byte{2, 0, 0, 0}
	const nobody = 1<<32 - 1
	for _, e := range []struct {
		tag, rights uint16
		id          uint32
	}{{0x01, 6, nobody}, {0x02, 6, 1000}, {0x04, 4, nobody}, {0x10, 6, nobody}, {0x20, 0, nobody}} {
		acl, _ = binary.Append(acl, binary.LittleEndian, e)
	}
	for name, attribute := range map[string]string{
		"etc/shared": accessACL, "srv/drop": defaultACL, "var/log/journal": defaultACL, "var/log/journal/file": accessACL,
	} {
		if err := unix.Setxattr(filepath.Join(dir, name), attribute, acl, 0); err != nil {
			t.Skipf("no ACLs can be set here: %v", err)
		}
	}
	archive := filepath.Join(t.TempDir(), "archive.tar")
	if out, err := exec.CommandContext(t.Context(), "tar", "--create", "--acls", "-C", dir, "-f", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	for _, from := range []source{{"dir", dir}, {"tar", archive}} {
		t.Run(from.kind, func(t *testing.T) {
			work := t.TempDir()
			root := filepath.Join(work, "root")
			var told []string
			o := Options{
				Log: slog.New(slog.DiscardHandler), Progress: func(string, int64, int64) {},
				Warn: func(text string) { told = append(told, text) },
			}
			if err := errors.Join(from.unpack(t.Context(), o, filepath.Join(work, "source"), root), dropACLs(root, o.Warn)); err != nil {
				t.Fatal(err)
			}
			if len(told) != 1 || !strings.Contains(told[0], " /etc/shared, /srv/drop;") {
				t.Errorf("told = %q; want a warning that names /etc/shared and /srv/drop", told)
			}
			if info, err := os.Stat(filepath.Join(root, "etc/shared")); err != nil || info.Mode() != 0o640 {
				t.Errorf("the file has mode %v (%v); want 0640, as its group may only read", info.Mode(), err)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := check(root, "amd64"); err == nil || !strings.Contains(err.Error(), "systemd-sysv") {
		t.Errorf("check of a root without an init = %v; want what to do", err)
	}
	write(t, filepath.Join(dir, "sbin/init"), string(module("x"))) // an ELF file for amd64
	if err := check(root, "arm64"); err == nil || !strings.Contains(err.Error(), "--arch") {
		t.Errorf("check of a root for another processor = %v; want --arch named", err)
	}
	if err := check(root, "amd64"); err != nil {
		t.Errorf("check = %v; want nil", err)
	}
}
