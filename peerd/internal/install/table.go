package install

import (
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/partition"
)

// The partitions of an installed disk, in their order.
const (
	bootPart = iota
	imagePart
	writesPart
	biosPart // lies before the others; GRUB in it knows the boot partition as the first
)

var names = []string{bootargs.BootPartition, bootargs.ImagePartition, bootargs.WritesPartition, bootargs.BIOSPartition}

var types = []gpt.Type{gpt.EFISystemPartition, gpt.LinuxFilesystem, gpt.LinuxFilesystem, gpt.BIOSBoot}

// A part is where a partition lies, in bytes.
type part struct{ start, size int64 }

const (
	mib      = 1 << 20
	behind   = bootargs.BIOSSector * sectorSize // behind the table
	first    = mib                              // where what is read much begins, as everybody's
	tail     = mib                              // left free at the disk's end, where the second table is
	bootSize = 512 * mib                        // kernel, initramfs and loader take 40
	maxImage = 32 << 10 * mib
)

// layout divides a disk. Images may grow: theirs is half of what is left, up to
// 32 GiB; the rest is for what the machine writes.
func layout(disk, image int64) ([]part, error) {
	room := (disk-first-tail)/mib*mib - bootSize
	forImage := min(room/2/mib*mib, maxImage)
	if forImage < image {
		return nil, fmt.Errorf("the disk has %d MiB; want %d at least for this image", disk/mib, (2*image+bootSize+first+tail)/mib+2)
	}
	return []part{
		{first, bootSize},
		{first + bootSize, forImage},
		{first + bootSize + forImage, room - forImage},
		{behind, first - behind},
	}, nil
}

// take finds our partitions on a disk, or makes them on an empty one. Any other
// disk is left alone: partition.ErrTaken.
func take(disk *os.File, image int64) ([]part, error) {
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if parts, ours := find(disk); ours {
		if parts[imagePart].size < image {
			return nil, fmt.Errorf("partition %s has %d MiB, the image %d; empty the disk's first MiB to have it divided anew", bootargs.ImagePartition, parts[imagePart].size/mib, image/mib+1)
		}
		return parts, nil
	}
	if err := partition.MustBeEmpty(disk); err != nil {
		return nil, err
	}
	parts, err := layout(size, image)
	if err != nil {
		return nil, err
	}
	table := &gpt.Table{LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true}
	for i, p := range parts {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Name: names[i], Type: types[i],
			Start: uint64(p.start) / sectorSize, End: uint64(p.start+p.size)/sectorSize - 1, Size: uint64(p.size),
		})
	}
	out, err := file.New(disk, false).Writable()
	if err == nil {
		err = table.Write(out, size)
	}
	if err != nil {
		return nil, fmt.Errorf("write the partition table: %w", err)
	}
	return parts, nil
}

// find reads the table of a disk; ours tells whether it has our partitions and no
// other.
func find(disk *os.File) (parts []part, ours bool) {
	table, err := gpt.Read(file.New(disk, true), sectorSize, sectorSize)
	if err != nil {
		return nil, false
	}
	for _, p := range table.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		if len(parts) == len(names) || p.Name != names[len(parts)] {
			return nil, false
		}
		parts = append(parts, part{int64(p.Start) * sectorSize, int64(p.End-p.Start+1) * sectorSize})
	}
	return parts, len(parts) == len(names)
}
