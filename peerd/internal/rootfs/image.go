// Package rootfs gives the kernel a machine's root while its pieces are still
// arriving: the image as one file over FUSE, a loop device on that file, and
// later the move of the loop device to the finished file.
//
// The root server of peerd is its only caller. A read travels from the loop
// device through imageFile.Read (fuse.go) to Image.await (image.go), which
// waits for the pieces it spans; Loop.MoveTo (loop.go) ends all that.
package rootfs

import (
	"context"
	"log/slog"
	"os"

	"swarmboot/images"
)

// Store is where the pieces arrive; a piecestore.Store is one.
type Store interface {
	// Wait returns when pieces first to last are here and verified, or with
	// ctx's error.
	Wait(ctx context.Context, first, last int) error
	// File has the bytes of all pieces that are here.
	File() *os.File
	Pieces() images.Pieces
}

// Image is the root file as its readers see it: complete from the beginning,
// only slow in places. A read of it never fails, because file systems remember
// failures: squashfs keeps a metadata block that could not be read as broken
// until the machine is switched off. So a read waits for as long as it takes.
type Image struct {
	store  Store
	pieces images.Pieces
	ctx    context.Context // ends all waiting reads, when peerd itself ends
	log    *slog.Logger
}

// NewImage returns the image in store. Its reads wait until ctx ends.
func NewImage(ctx context.Context, store Store, log *slog.Logger) *Image {
	return &Image{store: store, pieces: store.Pieces(), ctx: ctx, log: log}
}

// await waits until the bytes of [off, off+n) that lie inside the image can be
// read from the store's file, and returns how many these are. The only error
// is that of a context that ended.
func (m *Image) await(off int64, n int) (int, error) {
	if off < 0 || off >= m.pieces.Size || n <= 0 {
		return 0, nil
	}
	n = int(min(int64(n), m.pieces.Size-off))
	first, last := m.pieces.Spanned(off, n)
	if err := m.store.Wait(m.ctx, first, last); err != nil {
		return 0, err
	}
	return n, nil
}
