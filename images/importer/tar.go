package importer

import (
	"context"
	"errors"
	"fmt"
	"os"

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
	var done int64
	r, err := decompress.Reader(stoppable{ctx, f, func(n int) {
		done += int64(n)
		j.Progress(done, info.Size())
	}})
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
	return nil
}
