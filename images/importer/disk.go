package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"swarmboot/images/internal/tool"
)

// Disk copies the root file system out of a disk image in any format that
// qemu-img reads. It mounts the partitions one after the other, read-only, and
// takes the one with an init; kernels on another, as with a separate /boot, go
// where they belong. The host's kernel must know the file system; LVM and
// encrypted disks are not understood.
func Disk(ctx context.Context, j Job) error {
	if err := tool.Need(tool.QemuImg, tool.Sfdisk, tool.Mount, tool.Cp); err != nil {
		return err
	}
	raw, err := toRaw(ctx, j)
	if err != nil {
		return err
	}
	parts, err := partitions(ctx, raw)
	if err != nil {
		return fmt.Errorf("partitions of %s: %w", j.Place, err)
	}
	copied, kernels := -1, []int{}
	var seen []string
	for i, part := range parts {
		err := mounted(ctx, j, raw, part, func(dir string) error {
			switch {
			case copied < 0 && isRoot(dir):
				copied = i
				return copyTree(ctx, j, dir, j.Root)
			case len(kernelsIn(dir)) > 0:
				kernels = append(kernels, i)
			}
			return nil
		})
		if copied == i && err != nil {
			return fmt.Errorf("partition %s: %w", part.name, err)
		}
		if err != nil {
			seen = append(seen, fmt.Sprintf("%s: %v", part.name, err))
		} else {
			seen = append(seen, part.name+": no root")
		}
	}
	if copied < 0 {
		return fmt.Errorf("%s has no partition with a root file system in it (%s); copy its root by hand and build from that folder", j.Place, strings.Join(seen, "; "))
	}
	boot := filepath.Join(j.Root, "boot")
	if len(kernelsIn(boot)) > 0 {
		return nil
	}
	for _, i := range kernels {
		if err := mounted(ctx, j, raw, parts[i], func(dir string) error { return copyTree(ctx, j, dir, boot) }); err != nil {
			return fmt.Errorf("partition %s: %w", parts[i].name, err)
		}
	}
	return nil
}

// toRaw returns the name of a file with the disk's bytes.
func toRaw(ctx context.Context, j Job) (string, error) {
	out, err := exec.CommandContext(ctx, "qemu-img", "info", "--output=json", j.Place).Output()
	if err != nil {
		return "", fmt.Errorf("qemu-img cannot read %s: %s", j.Place, lastLine(err))
	}
	var info struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return "", fmt.Errorf("qemu-img info of %s: %w", j.Place, err)
	}
	if info.Format == "raw" {
		return filepath.Abs(j.Place)
	}
	raw := filepath.Join(j.Work, "disk.raw")
	return raw, tool.Run(j.Log, exec.CommandContext(ctx, "qemu-img", "convert", "-f", info.Format, "-O", "raw", j.Place, raw), nil)
}

func lastLine(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
		return lines[len(lines)-1]
	}
	return err.Error()
}

// A partition is a range of bytes of a disk; one of size 0 is the whole disk.
type partition struct {
	name        string
	start, size int64
}

// partitions lists the partitions of a disk, largest first. A disk without a
// table is one by itself.
func partitions(ctx context.Context, raw string) ([]partition, error) {
	out, err := exec.CommandContext(ctx, "sfdisk", "--json", raw).Output()
	if err != nil {
		return []partition{{name: "the whole disk"}}, nil // sfdisk only says that it finds no table
	}
	return readTable(out)
}

// readTable reads what sfdisk --json prints.
func readTable(data []byte) ([]partition, error) {
	var said struct {
		Table struct {
			SectorSize int64 `json:"sectorsize"`
			Partitions []struct {
				Node        string
				Start, Size int64
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal(data, &said); err != nil {
		return nil, err
	}
	sector := said.Table.SectorSize
	if sector == 0 { // older than util-linux 2.35
		sector = 512
	}
	var parts []partition
	for i, p := range said.Table.Partitions {
		if p.Start <= 0 || p.Size <= 0 || sector < 0 || p.Start > 1<<53/sector || p.Size > 1<<53/sector {
			return nil, fmt.Errorf("partition %d begins at sector %d and has %d", i+1, p.Start, p.Size)
		}
		parts = append(parts, partition{fmt.Sprint(i + 1), p.Start * sector, p.Size * sector})
	}
	slices.SortStableFunc(parts, func(a, b partition) int { return int(min(1, max(-1, b.size-a.size))) })
	return parts, nil
}

// mounted calls use with a folder that shows the partition. The mount is in a
// namespace of its own, which ends with this call whatever happens.
func mounted(ctx context.Context, j Job, raw string, part partition, use func(dir string) error) error {
	dir := filepath.Join(j.Work, "partition")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	result := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and with the thread
		// its namespace. Programs that use starts inherit it.
		runtime.LockOSThread()
		result <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return fmt.Errorf("mount namespace: %w", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("mount namespace: %w", err)
			}
			if err := mount(ctx, j, raw, part, dir); err != nil {
				return err
			}
			defer unix.Unmount(dir, unix.MNT_DETACH)
			return use(dir)
		}()
	}()
	return <-result
}

// mount lets mount(8) find the type of the file system. A journal that was not
// replayed stays so where the file system can be read all the same.
func mount(ctx context.Context, j Job, raw string, part partition, dir string) error {
	options := fmt.Sprintf("loop,ro,nodev,nosuid,noexec,offset=%d,sizelimit=%d", part.start, part.size)
	var errs []error
	for _, more := range []string{",noload", ",norecovery", ""} { // ext4; xfs and btrfs; others
		err := tool.Run(j.Log, exec.CommandContext(ctx, "mount", "-o", options+more, raw, dir), nil)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errs[len(errs)-1]
}

// isRoot tells whether a system could start from dir.
func isRoot(dir string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	for _, name := range []string{"sbin/init", "usr/sbin/init", "usr/lib/systemd/systemd"} {
		if _, err := root.Lstat(name); err == nil {
			return true
		}
	}
	return false
}

func kernelsIn(dir string) []string {
	found, _ := fs.Glob(os.DirFS(dir), "vmlinuz-*")
	return found
}
