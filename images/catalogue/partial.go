package catalogue

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"swarmboot/images"
)

// partialFolder has what has come of blobs that are being fetched, so that a
// fetch which is broken off goes on where it was, also by another process.
const partialFolder = "partial"

// Partial opens what has come of the blob with that SHA-256, to be added to. It
// belongs to the caller until it is closed; another process that wants it waits.
func (c *Catalogue) Partial(ctx context.Context, sha256 string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(c.dir, partialFolder), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(c.dir, partialFolder, sha256), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// DropPartial removes what has come of a blob.
func (c *Catalogue) DropPartial(sha256 string) {
	os.Remove(filepath.Join(c.dir, partialFolder, sha256)) // what stays, Collect removes
}

// OpenBlob opens a blob that is in the catalogue and as it should be.
func (c *Catalogue) OpenBlob(want images.Part) (*os.File, error) {
	f, err := os.Open(c.blob(want.SHA256))
	if err != nil {
		return nil, err
	}
	if err := want.Verify(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// collectPartial removes what nobody adds to any more, and returns how many bytes it
// had.
func (c *Catalogue) collectPartial() (freed int64, err error) {
	names, err := fs.Glob(os.DirFS(filepath.Join(c.dir, partialFolder)), "*")
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(c.dir, partialFolder, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // fetched meanwhile
		}
		if err != nil {
			return freed, err
		}
		info, err := f.Stat()
		if err == nil && syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if err = os.Remove(f.Name()); err == nil {
				freed += info.Size()
			}
		}
		f.Close()
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}
