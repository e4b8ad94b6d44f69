package builder

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"swarmboot/images/internal/tool"
)

// customize runs the admin's program on a root that was not bootstrapped here.
// As mmdebstrap does, it lends the root this computer's devices and a /proc, so
// that programs run in it by chroot find what they expect.
func customize(ctx context.Context, o Options, root string) error {
	const script = `mkdir -p "$1/proc" "$1/dev"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
exec "$0" "$1"`
	cmd := exec.CommandContext(ctx, "sh", "-ec", script, o.Customize, root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	if err := tool.Run(o.Log, cmd, nil); err != nil {
		return fmt.Errorf("customize with %s: %w", o.Customize, err)
	}
	return nil
}

// Where Linux keeps POSIX ACLs: of a file, and for new files in a folder.
const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// dropACLs gives the files in root the modes that they have without POSIX ACLs,
// which a squashfs cannot keep, and warns of them.
func dropACLs(root string, warn func(string)) error {
	var with []string
	acl := make([]byte, 64<<10) // as long as an attribute can be
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		size, errAccess := unix.Lgetxattr(path, accessACL, acl)
		_, errDefault := unix.Lgetxattr(path, defaultACL, nil)
		if errAccess != nil && errDefault != nil {
			return nil
		}
		with = append(with, strings.TrimPrefix(path, root))
		if errAccess != nil {
			return nil
		}
		return narrowGroup(path, groupRights(acl[:size]))
	})
	warnOfACLs(with, warn)
	return err
}

// groupRights returns what an ACL lets the owning group do, as the last three
// bits: its entries, after 4 bytes of version, are tag, rights and ID (struct
// posix_acl_xattr_entry of Linux).
func groupRights(acl []byte) uint32 {
	const version, entry, groupObj = 4, 8, 0x04
	for acl = acl[min(version, len(acl)):]; len(acl) >= entry; acl = acl[entry:] {
		if binary.LittleEndian.Uint16(acl) == groupObj {
			return uint32(binary.LittleEndian.Uint16(acl[2:]))
		}
	}
	return 0
}

// narrowGroup takes from the mode of a file what its group has no right to: next
// to an ACL the group's bits are a mask, for all whom the ACL names.
func narrowGroup(path string, rights uint32) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	return unix.Chmod(path, st.Mode&(0o7707|rights<<3))
}

// warnOfACLs names files that in the image are without the ACLs they had. In the
// journal's folder systemd sets them at every boot.
func warnOfACLs(names []string, warn func(string)) {
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "/var/log/journal") })
	if len(names) == 0 {
		return
	}
	const named = 5
	list := strings.Join(names[:min(named, len(names))], ", ")
	if more := len(names) - named; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	warn("squashfs knows no POSIX ACLs, so the image is without those of " + list + "; what their owner, group and mode allow is what counts")
}

// inits are programs that a system starts with, and by which we learn which
// processor it is for.
var inits = []string{"usr/lib/systemd/systemd", "lib/systemd/systemd", "usr/sbin/init", "sbin/init"}

// machines are our names of processors.
var machines = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// check refuses a root that no machine could start.
func check(root *os.Root, arch string) error {
	if _, err := root.Lstat("sbin/init"); err != nil {
		return errors.New("it has no /sbin/init, so nothing would start; a container image needs an init in it, such as Debian's package systemd-sysv")
	}
	for _, name := range inits {
		f, err := root.Open(name)
		if err != nil { // not there, or a link to the root's outside
			continue
		}
		program, err := elf.NewFile(f)
		f.Close()
		if err != nil { // a script
			continue
		}
		if got := machines[program.Machine]; got != arch {
			return fmt.Errorf("its programs are for %v, not for %s; see --arch", program.Machine, arch)
		}
		return nil
	}
	return nil
}

// generalize makes a root fit for many machines without disks: what must not be
// the same on all goes, as does what only the one disk had that it came from.
func generalize(root *os.Root, epoch int64) error {
	for _, pattern := range []string{
		"etc/ssh/ssh_host_*",      // a private key known to all is no key
		"vmlinuz*", "initrd.img*", // links to a kernel and an initramfs that aren't there
		"var/lib/dbus/machine-id", "var/lib/systemd/random-seed",
		"run/*", "tmp/*",
	} {
		if err := removeAll(root, pattern); err != nil {
			return err
		}
	}
	// Empty, not absent: systemd then makes an ID at each boot without asking
	// the questions of a first boot on the console.
	if err := replace(root, "etc/machine-id", nil, 0o444); err != nil {
		return err
	}
	if err := withoutDisks(root); err != nil {
		return err
	}
	if err := markUpdated(root, epoch); err != nil {
		return err
	}
	if hosts, err := root.ReadFile("etc/hosts"); errors.Is(err, fs.ErrNotExist) || err == nil && len(hosts) == 0 {
		if err := replace(root, "etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"), 0o644); err != nil {
			return err
		}
	}
	if _, err := root.Stat("usr/sbin/sshd"); err != nil {
		return nil
	}
	return makeHostKeys(root)
}

// replace writes a file in the place of what is there, which may be a link to
// somewhere else.
func replace(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.WriteFile(name, data, mode)
}

func removeAll(root *os.Root, pattern string) error {
	names, err := fs.Glob(root.FS(), pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// withoutDisks comments out what /etc/fstab mounts from the disk that the root
// came from: systemd would wait for it, and then stop the boot.
func withoutDisks(root *os.Root) error {
	fstab, err := root.ReadFile("etc/fstab")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if adapted := diskless(string(fstab)); adapted != string(fstab) {
		return replace(root, "etc/fstab", []byte(adapted), 0o644)
	}
	return nil
}

// diskless is withoutDisks on the text of a fstab(5). What may be absent stays.
func diskless(fstab string) string {
	var out strings.Builder
	for line := range strings.Lines(fstab) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && onDisk(fields) {
			line = "# not on a machine without a disk: " + line
		}
		out.WriteString(line)
	}
	return out.String()
}

func onDisk(fields []string) bool {
	device, place := fields[0], fields[1]
	if strings.HasPrefix(device, "#") {
		return false
	}
	if place == "/" {
		return true
	}
	if len(fields) >= 4 {
		for option := range strings.SplitSeq(fields[3], ",") {
			if option == "nofail" || option == "noauto" {
				return false
			}
		}
	}
	for _, prefix := range []string{"/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/swap"} {
		if strings.HasPrefix(device, prefix) {
			return true
		}
	}
	return false
}

// markUpdated tells systemd that its caches fit /usr, which never changes below
// a machine: without these marks it would make them anew at every boot. It
// reads the time of /usr from inside (ConditionNeedsUpdate in systemd.unit(5)),
// because a squashfs keeps whole seconds only.
func markUpdated(root *os.Root, epoch int64) error {
	usr, err := root.Stat("usr")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mark := fmt.Appendf(nil, "TIMESTAMP_NSEC=%d\n", min(usr.ModTime().Unix(), epoch)*1e9)
	for _, name := range []string{"etc/.updated", "var/.updated"} {
		if err := replace(root, name, mark, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// hostKeyUnit gives a machine its ssh host key, anew at each boot because its
// disk is memory. One kind is enough, and ed25519 takes no time to make.
const hostKeyUnit = `[Unit]
Description=SSH host key of this machine
Before=ssh.service ssh.socket sshd.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
`

// makeHostKeys installs hostKeyUnit.
func makeHostKeys(root *os.Root) error {
	const units, name = "etc/systemd/system/", "swarmboot-ssh-host-key.service"
	for _, wants := range []string{"ssh.service.wants", "ssh.socket.wants", "sshd.service.wants"} {
		if err := root.MkdirAll(units+wants, 0o755); err != nil {
			return err
		}
		if err := root.Symlink("../"+name, units+wants+"/"+name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return replace(root, units+name, []byte(hostKeyUnit), 0o644)
}
