package bootargs

import (
	"fmt"
	"path"
	"regexp"
)

// An Install is what a machine writes to a disk once its image is complete, to
// start from there the next time. It is all that the disk's boot partition holds,
// besides what only the machine has: its boot description and its identity.
type Install struct {
	Disk   string        `json:"disk"`   // as Linux calls it, such as nvme0n1
	Digest string        `json:"digest"` // of all this and of the image; told back when it is done
	Files  []InstallFile `json:"files"`
	BIOS   InstallFile   `json:"bios,omitzero"` // the loader for BIOS, which is in no file; zero: no machine of the kind has BIOS
	Writes Writes        `json:"writes"`        // on the same disk
}

// An InstallFile is a file of the boot partition.
type InstallFile struct {
	Path    string `json:"path,omitempty"`    // from the partition's root
	Content string `json:"content,omitempty"` // or, if that is empty:
	URL     string `json:"url,omitempty"`     // where it is fetched
	SHA256  string `json:"sha256,omitempty"`  // of what is fetched
}

// The partitions of an installed disk, by their names in its GPT.
const (
	BootPartition   = "swarmboot-boot"   // EFI system partition
	ImagePartition  = "swarmboot-image"  // the root image, from its first byte
	WritesPartition = "swarmboot-writes" // what the machine writes
	BIOSPartition   = "swarmboot-bios"   // the loader for BIOS, but its first sector, which is the disk's
)

// BIOSSector is where the BIOS boot partition begins: right behind the GPT. The
// loader is made for that place.
const BIOSSector = 34

// BootLabel is the label of the file system in the boot partition.
const BootLabel = "SWARMBOOT"

// MachineSegment is the archive in the boot partition that holds, as a part of the
// initramfs, the two files below.
const MachineSegment = "/swarmboot/machine"

// Where init finds, on a machine that starts from its disk, what it else fetches.
const (
	LocalDescription = "/etc/swarmboot/description.json"
	LocalIdentity    = "/etc/swarmboot/identity.json"
)

var diskName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// ValidDisk tells whether name can be that of a disk.
func ValidDisk(name string) bool { return diskName.MatchString(name) }

func (i Install) validate() error {
	if i.Disk == "" {
		return nil
	}
	if !ValidDisk(i.Disk) {
		return fmt.Errorf("install: %q is no disk's name", i.Disk)
	}
	for _, f := range i.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || (f.Content == "") == (f.URL == "") {
			return fmt.Errorf("install: file %q: want an absolute path, and content or URL", f.Path)
		}
	}
	return i.Writes.validate()
}
