package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"swarmboot/images/internal/ctxio"
	"swarmboot/images/internal/decompress"
)

// Tar unpacks a tar archive, which may be compressed with gzip, xz, zstd or
// bzip2.
func Tar(ctx context.Context, j Job) error {
	f, err := os.Open(j.Place)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := decompress.Reader(io.TeeReader(ctxio.NewReader(ctx, f), &counter{total: info.Size(), tell: j.Progress}))
	if err != nil {
		return fmt.Errorf("%s: %w", j.Place, err)
	}
	u, err := newUntarrer(j.Root)
	if err != nil {
		return err
	}
	if err := errors.Join(u.apply(r, false), u.close()); err != nil {
		return fmt.Errorf("unpack %s: %w", j.Place, err)
	}
	j.LostACLs(u.acls)
	return nil
}

// A counter tells how many of the bytes have been written to it.
type counter struct {
	done, total int64
	tell        func(done, total int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	c.tell(c.done, c.total)
	return len(p), nil
}
