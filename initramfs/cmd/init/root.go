package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"swarmboot/initramfs/internal/handover"
)

const (
	rootFilesystem = "squashfs" // what images are made of
	rootCheck      = 10 * time.Second
	rootTimeout    = 3 * time.Minute // without a single read being answered
)

// mountRoot makes the new root. Its first reads may wait long for their pieces;
// while some arrive, it waits on.
func (b *boot) mountRoot(p *peerd, with handover.Furniture) (*handover.Root, error) {
	var root *handover.Root
	done := make(chan error, 1)
	go func() {
		done <- guard(func() (err error) {
			if root, err = handover.Mount(loopDevice, rootFilesystem); err != nil {
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
			b.console.Say("waiting for the image: %d reads answered, the last %v ago", answered, silent)
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
