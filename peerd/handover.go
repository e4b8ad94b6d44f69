package peerd

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"swarmboot/initramfs/stage"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/internal/rootfs"
)

const (
	moveAgain   = 10 * time.Second // between attempts to move the loop device
	unmountTime = 10 * time.Second // for the kernel to let go of the FUSE mount
)

// handOver waits for the last piece and moves the loop device from FUSE to the
// finished file, after which the machine's root no longer needs peerd. If ctx
// ends before, it takes the loop device away from under whoever uses it.
func (s *rootServer) handOver(ctx context.Context, root *attachment) {
	defer root.loop.Close()
	select {
	case <-s.store.Complete():
	case <-ctx.Done():
		s.detach(root)
		return
	}
	s.reporter.reached(stage.Complete)
	// The bytes are final; let the kernel know it, too.
	if err := piecestore.Freeze(filepath.Dir(s.store.File().Name())); err != nil {
		s.log.Warn("the finished image can still be written", "err", err)
	}
	for {
		err := root.loop.MoveTo(s.store.File())
		if err == nil {
			break
		}
		s.log.Error("the root stays on FUSE", "err", err)
		if !sleep(ctx, moveAgain) {
			s.detach(root)
			return
		}
	}
	s.reporter.reached(stage.HandedOver)
	if err := s.unmount(root.mount); err != nil {
		s.log.Warn("the FUSE mount stays", "err", err)
	}
	s.reporter.reached(stage.Seeding)
}

// detach undoes attach.
func (s *rootServer) detach(root *attachment) {
	if err := root.loop.Detach(); err != nil {
		s.log.Warn("the loop device stays", "err", err)
	}
	if err := s.unmount(root.mount); err != nil {
		s.log.Warn("the FUSE mount stays", "err", err)
	}
}

// unmount has a time of its own, because it also runs when all is ending.
func (s *rootServer) unmount(mount *rootfs.Mount) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), unmountTime, fmt.Errorf("not free after %v", unmountTime))
	defer cancel()
	return mount.Unmount(ctx)
}

// sleep waits for d; it tells whether ctx has lasted so long.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
