// Package writes opens the partition on which a machine keeps what it writes from
// one boot to the next.
//
// An empty partition is made an ext4 file system; one that holds such a file
// system by our label is used as it is; any other is left alone. init is the only
// caller.
package writes

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/ext4"

	"swarmboot/initramfs/partition"
)

const (
	// Filesystem is what Prepare leaves on a partition.
	Filesystem = "ext4"

	// volume is the label of the file system.
	volume = "swarmboot"
)

// What ext4 has in its superblock (Documentation/filesystems/ext4/super.rst).
const (
	superblock  = 1024 // where it begins
	magicOffset = 0x38
	labelOffset = 0x78
	labelSize   = 16
)

// Prepare makes the partition at path ready to be mounted, or tells why it must
// not be: partition.ErrTaken.
func Prepare(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the partition for writes: %w", err)
	}
	defer f.Close()
	if err := prepare(f); err != nil {
		return fmt.Errorf("partition for writes %s: %w", path, err)
	}
	return nil
}

func prepare(f *os.File) error {
	super := make([]byte, labelOffset+labelSize)
	if _, err := f.ReadAt(super, superblock); err != nil {
		return err
	}
	if bytes.Equal(super[magicOffset:][:2], []byte{0x53, 0xef}) {
		if string(bytes.TrimRight(super[labelOffset:], "\x00")) == volume {
			return nil
		}
		return fmt.Errorf("it %w; to have the machine's writes beside what is in that file system, run: e2label %s %s", partition.ErrTaken, f.Name(), volume)
	}
	if err := partition.MustBeEmpty(f); err != nil {
		return err
	}
	return format(f)
}

// Bytes for each inode. With few a file system is made fast, as go-diskfs writes
// all inodes' tables: 4 of 1000 bytes where there is much room.
const (
	roomy     = 64 << 30
	perInode  = 16 << 10
	perInode2 = 64 << 10 // from roomy on
)

// format makes an empty file system.
func format(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	ratio := int64(perInode)
	if size >= roomy {
		ratio = perInode2
	}
	_, err = ext4.Create(file.New(f, false), size, 0, 512, &ext4.Params{
		VolumeName: volume, InodeRatio: ratio,
		SectorsPerBlock: 8, // blocks of 4 KiB, the size of a page
		Features:        []ext4.FeatureOpt{ext4.WithFeatureReservedGDTBlocksForExpansion(false)},
	})
	if err != nil {
		return fmt.Errorf("make a file system: %w", err)
	}
	return f.Sync()
}
