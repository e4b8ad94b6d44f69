package catalogue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"swarmboot/images/internal/ctxio"
	"swarmboot/images/metainfo"
)

// stamp tells whether a file is still the one that was read. The change time
// is in it because, unlike the modification time, nobody can set it.
type stamp struct {
	device, inode uint64
	size          int64
	modified      syscall.Timespec
	changed       syscall.Timespec
}

func stampOf(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	s := info.Sys().(*syscall.Stat_t)
	return stamp{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim}, nil
}

// Verify compares a part with the manifest's SHA-256. A file that was found
// right is not read again as long as nobody touches it.
func (i *Image) Verify(part Part) error {
	f, err := i.Open(part)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := stampOf(f)
	if err != nil {
		return fmt.Errorf("verify %s of image %s: %w", part, i.Manifest.Ref(), err)
	}
	c := i.catalogue
	c.mu.Lock()
	known := c.verified[f.Name()] == before
	c.mu.Unlock()
	if known {
		return nil
	}
	if err := Describe(&i.Manifest, part).Verify(f); err != nil {
		return fmt.Errorf("verify %s of image %s: %s has %w", part, i.Manifest.Ref(), f.Name(), err)
	}
	// The stamp of before the reading: a write in between makes it void.
	c.mu.Lock()
	c.verified[f.Name()] = before
	c.mu.Unlock()
	return nil
}

// VerifyAll reads every byte of the image, whatever was verified before: each
// part is compared with its SHA-256, each piece with its own, and the torrent
// with the pieces. It names all that is wrong.
func (i *Image) VerifyAll(ctx context.Context) error {
	var errs []error
	for _, part := range Parts {
		if err := i.verifyBytes(ctx, part); err != nil {
			errs = append(errs, fmt.Errorf("verify %s of image %s: %s: %w", part, i.Manifest.Ref(), i.Path(part), err))
		}
	}
	return errors.Join(errs...)
}

func (i *Image) verifyBytes(ctx context.Context, part Part) error {
	f, err := i.Open(part)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := Describe(&i.Manifest, part).Verify(ctxio.NewReader(ctx, f)); err != nil {
		return err
	}
	switch part {
	case Torrent:
		data, err := os.ReadFile(f.Name())
		if err != nil {
			return err
		}
		_, err = metainfo.Parse(data, i.Manifest.Pieces)
		return err
	case Root:
		pieces := i.Manifest.Pieces
		buf := make([]byte, pieces.Length)
		for n := range pieces.Count() {
			piece := buf[:pieces.Len(n)]
			if _, err := f.ReadAt(piece, pieces.Offset(n)); err != nil && err != io.EOF {
				return err
			}
			if err := pieces.Verify(n, piece); err != nil {
				return err
			}
			if err := context.Cause(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
