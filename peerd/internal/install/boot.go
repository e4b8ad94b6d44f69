package install

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"swarmboot/initramfs/bootargs"
)

// void makes the boot partition one that no firmware and no loader finds.
func void(disk *os.File, boot part) error {
	// INT 18h: BIOS is to go on with what it would start next.
	if _, err := disk.WriteAt([]byte{0xcd, 0x18}, 0); err != nil {
		return fmt.Errorf("empty the first sector: %w", err)
	}
	if _, err := disk.WriteAt(make([]byte, mib), boot.start); err != nil {
		return fmt.Errorf("empty the boot partition: %w", err)
	}
	return disk.Sync()
}

// firstCode is what of the first sector is code; the partition table follows.
const firstCode = 440

// writeBIOS puts the loader for BIOS into its partition and, when all else is on
// the disk, into the first sector.
func writeBIOS(disk *os.File, bios part, loader []byte) error {
	if len(loader) < sectorSize || int64(len(loader)-sectorSize) > bios.size {
		return fmt.Errorf("a loader of %d bytes; the partition has %d", len(loader), bios.size)
	}
	if _, err := disk.WriteAt(loader[sectorSize:], bios.start); err != nil {
		return err
	}
	if err := disk.Sync(); err != nil {
		return err
	}
	_, err := disk.WriteAt(loader[:firstCode], 0)
	return err
}

// writeBoot makes the boot partition's file system, with files by their paths.
func writeBoot(disk *os.File, boot part, files map[string][]byte) error {
	fs, err := fat32.Create(file.New(disk, false), boot.size, boot.start, sectorSize, bootargs.BootLabel, false)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := fs.Mkdir(path.Dir(name)); err != nil {
			return fmt.Errorf("folder of %s: %w", name, err)
		}
		f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return err
		}
		if _, err := f.Write(files[name]); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
