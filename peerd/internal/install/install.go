// Package install writes a machine's image to its disk, with all that it takes to
// start from there: kernel, initramfs, and loaders for UEFI and BIOS.
//
// The disk is taken if it is empty, or has exactly our partitions (table.go). Then
// the loaders are made void, the image is written, and boot partition and loaders
// last (boot.go), so that a disk is never half ours: without power in between the
// machine starts from the network again. peerd's install command is the only
// caller.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"swarmboot/images"
	"swarmboot/initramfs/bootargs"
)

// What is a machine to install.
type What struct {
	bootargs.Install
	Image string            // file of the complete root image
	Own   map[string][]byte // files of the boot partition that only the machine has, by their paths
}

// sectorSize is that of disks which are taken; GRUB and GPT go by it.
const sectorSize = 512

// Run installs on the disk of this machine, whose /sys and /dev it has.
func Run(ctx context.Context, w What) error {
	if _, err := os.Stat("/sys/firmware/efi"); err != nil && w.BIOS.URL == "" {
		return errors.New("install: the machine was started by BIOS, and the server has no loader for that on disks; 'swarmboot loaders fetch' there brings it")
	}
	sys := filepath.Join("/sys/block", w.Disk)
	if _, err := os.Stat(sys); err != nil {
		return fmt.Errorf("install: there is no disk %s; its partitions and other devices do not count: %w", w.Disk, err)
	}
	size, err := os.ReadFile(filepath.Join(sys, "queue/logical_block_size"))
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if string(size) != fmt.Sprintln(sectorSize) {
		return fmt.Errorf("install: disk %s has sectors of %s bytes; want %d", w.Disk, size, sectorSize)
	}
	// O_EXCL: nobody has mounted it or a part of it.
	disk, err := os.OpenFile(filepath.Join("/dev", w.Disk), os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	defer disk.Close()
	if err := onto(ctx, disk, w); err != nil {
		return fmt.Errorf("install on %s: %w", w.Disk, err)
	}
	return nil
}

// onto installs on an open disk. What is fetched comes first: a server that does
// not have it must not cost the disk.
func onto(ctx context.Context, disk *os.File, w What) error {
	image, err := os.Open(w.Image)
	if err != nil {
		return err
	}
	defer image.Close()
	files, bios, err := gather(ctx, w)
	if err != nil {
		return err
	}
	info, err := image.Stat()
	if err != nil {
		return err
	}
	parts, err := take(disk, info.Size())
	if err != nil {
		return err
	}
	if err := void(disk, parts[bootPart]); err != nil {
		return err
	}
	if _, err := io.Copy(io.NewOffsetWriter(disk, parts[imagePart].start), image); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	if err := writeBoot(disk, parts[bootPart], files); err != nil {
		return fmt.Errorf("write the boot partition: %w", err)
	}
	if bios != nil {
		if err := writeBIOS(disk, parts[biosPart], bios); err != nil {
			return fmt.Errorf("write the loader for BIOS: %w", err)
		}
	}
	return disk.Sync()
}

// maxFile bounds the size in bytes of what is fetched.
const maxFile = 256 << 20

// gather fetches and verifies the files of the boot partition, and the loader for
// BIOS, if there is one.
func gather(ctx context.Context, w What) (files map[string][]byte, bios []byte, err error) {
	files = map[string][]byte{}
	for path, data := range w.Own {
		files[path] = data
	}
	for _, f := range w.Files {
		if f.Content != "" {
			files[f.Path] = []byte(f.Content)
			continue
		}
		if files[f.Path], err = fetch(ctx, f); err != nil {
			return nil, nil, err
		}
	}
	if w.BIOS.URL != "" {
		bios, err = fetch(ctx, w.BIOS)
	}
	return files, bios, err
}

func fetch(ctx context.Context, f bootargs.InstallFile) (data []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fetch %s: %w", f.URL, err)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	if sum := images.Digest(data); sum != f.SHA256 {
		return nil, fmt.Errorf("its SHA-256 is %s; want %s", sum, f.SHA256)
	}
	return data, nil
}
