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
	if _, err := disk.WriteAt(make([]byte, mib), boot.start); err != nil {
		return fmt.Errorf("empty the boot partition: %w", err)
	}
	return disk.Sync()
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
