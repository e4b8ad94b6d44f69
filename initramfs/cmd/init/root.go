package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/internal/handover"
	"swarmboot/initramfs/internal/modules"
	"swarmboot/initramfs/internal/writes"
	"swarmboot/initramfs/partition"
)

const (
	rootFilesystem = "squashfs" // what images are made of
	rootCheck      = 10 * time.Second
	rootTimeout    = 3 * time.Minute // without a single read being answered
)

// openWrites opens the partition that takes what is written to the root; without
// one memory does.
func (b *boot) openWrites(drivers *modules.Loader, where bootargs.Writes) (handover.Writes, error) {
	if where.Partition == "" {
		return handover.Writes{}, nil
	}
	device, err := partition.Await(where.Partition)
	if err != nil {
		return handover.Writes{}, fmt.Errorf("writes: %w", err)
	}
	if err := errors.Join(drivers.Load(writes.Filesystem), writes.Prepare(device)); err != nil {
		return handover.Writes{}, err
	}
	b.console.Say("what this machine writes is kept on %s, in %s", device, where.Folder)
	return handover.Writes{Device: device, Filesystem: writes.Filesystem, Folder: where.Folder}, nil
}

// mountRoot makes the new root. Its first reads may wait long for their pieces;
// while some arrive, it waits on.
func (b *boot) mountRoot(p *peerd, layer handover.Writes, with handover.Furniture) (*handover.Root, error) {
	var root *handover.Root
	done := make(chan error, 1)
	go func() {
		done <- guard(func() (err error) {
			if root, err = handover.Mount(loopDevice, rootFilesystem, layer); err != nil {
				return err
			}
			if err = root.Furnish(with); err != nil {
				return errors.Join(err, root.Unmount())
			}
			return nil
		})
	}()

	// abandon waits for the mount, which fails once nobody answers its reads.
	abandon := func(why error) (*handover.Root, error) {
		err := <-done
		if err == nil { // it came through at the last moment
			err = root.Unmount()
		}
		return nil, errors.Join(why, err)
	}
	check := time.NewTicker(rootCheck)
	defer check.Stop()
	answered, since := readsAnswered(), time.Now()
	for {
		select {
		case err := <-done:
			return root, err
		case <-p.ended:
			return abandon(p.Ended())
		case <-check.C:
			if now := readsAnswered(); now != answered {
				answered, since = now, time.Now()
			}
			silent := time.Since(since).Round(time.Second)
			if silent >= rootTimeout {
				p.Stop()
				return abandon(fmt.Errorf("no piece of the image has arrived for %v", silent))
			}
			if silent >= rootCheck {
				b.console.Say("waiting for the image: %d reads answered, the last %v ago", answered, silent)
			}
		}
	}
}

// readsAnswered is how many reads of the loop device are done.
func readsAnswered() int {
	stat, _ := os.ReadFile("/sys/block/" + filepath.Base(loopDevice) + "/stat")
	return completedReads(string(stat))
}

// completedReads is the first number of a block device's statistics
// (Documentation/block/stat.rst).
func completedReads(stat string) int {
	first, _, _ := strings.Cut(strings.TrimSpace(stat), " ")
	n, _ := strconv.Atoi(first)
	return n
}
