package handover

import (
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/stage"
)

// Furniture is what this boot adds to the image.
type Furniture struct {
	Name       string // host name; empty leaves the image's own
	ResolvConf string // of the network that the machine booted from; empty leaves the image's own
	Busybox    string // our programs in one; named peerd it answers "peerd status"
	Identity   bootargs.Identity
	Ready      []string // command that runs when the system has reached its login; may be nil
}

// Peerd is where an admin finds our program in the running system.
const Peerd = "run/swarmboot/bin/peerd"

// readyUnit runs when the system has reached its login. A target does not wait
// for a unit that names it in After, so this makes no circle.
const readyUnit = `[Unit]
Description=Tell Swarmboot that this machine is ready
After=multi-user.target getty.target

[Service]
Type=oneshot
ExecStart=/bin/touch ` + stage.ReadyFile + `
`

// readyCommand is a further line of readyUnit, for a command that may fail.
func readyCommand(words []string) string {
	if words == nil {
		return ""
	}
	return "ExecStart=-" + strings.Join(words, " ") + "\n"
}

// Furnish writes what f names into the root.
func (r *Root) Furnish(f Furniture) error {
	// An os.Root keeps the image's symbolic links (resolv.conf often is one)
	// from leading us back into the initramfs.
	root, err := os.OpenRoot(r.path)
	if err != nil {
		return fmt.Errorf("furnish the root: %w", err)
	}
	defer root.Close()
	if err := place(root, append(files(f), identityFiles(root, f.Identity)...)); err != nil {
		return fmt.Errorf("furnish the root: %w", err)
	}
	const wants = "run/systemd/system/multi-user.target.wants"
	if err := root.MkdirAll(wants, 0o755); err != nil {
		return fmt.Errorf("furnish the root: %w", err)
	}
	if err := root.Symlink("../swarmboot-ready.service", wants+"/swarmboot-ready.service"); err != nil {
		return fmt.Errorf("furnish the root: %w", err)
	}
	// The program is bound, not copied: it costs no memory, and unlike a link it
	// is reached from outside the initramfs.
	peerd := path.Join(r.path, Peerd)
	if err := unix.Mount(f.Busybox, peerd, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", f.Busybox, peerd, err)
	}
	r.mounted = append(r.mounted, peerd)
	return nil
}

// files are those that are written in every boot.
func files(f Furniture) []bootargs.File {
	all := []bootargs.File{
		text("/run/systemd/system/swarmboot-ready.service", readyUnit+readyCommand(f.Ready)),
		text("/"+Peerd, ""), // to be bound over
	}
	if f.Name != "" {
		all = append(all, text("/etc/hostname", f.Name+"\n"))
	}
	if f.ResolvConf != "" {
		all = append(all, text("/etc/resolv.conf", f.ResolvConf))
	}
	return all
}

// text is a file that everybody may read.
func text(path, content string) bootargs.File {
	return bootargs.File{Path: path, Mode: 0o644, Content: []byte(content)}
}

// place writes files, each in place of whatever has its name; of two with one
// name, the later. Nobody but root sees one before it has its mode.
func place(root *os.Root, all []bootargs.File) error {
	for _, f := range all {
		name := strings.TrimPrefix(f.Path, "/")
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.Remove(name); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := root.WriteFile(name, f.Content, 0o600); err != nil {
			return err
		}
		if err := root.Chmod(name, f.Mode); err != nil {
			return err
		}
	}
	return nil
}
