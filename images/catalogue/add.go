package catalogue

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"swarmboot/images"
	"swarmboot/images/internal/ctxio"
	"swarmboot/initramfs/envelope"
)

// ErrExists says that the catalogue has an image of that name and version. A
// version is never replaced: machines may be running it.
var ErrExists = errors.New("is in the catalogue already; choose another version")

// temporary begins the names of files that are being written.
const temporary = ".adding-"

// Add copies the files of an image into the catalogue, completes the manifest
// m with their sizes and digests, signs it with key and publishes it under
// m.Ref(). It takes its turn when another process adds. If it fails or ctx
// ends, readers see the catalogue as before; if the process dies, too, and the
// next Add removes the file it was writing.
func (c *Catalogue) Add(ctx context.Context, key envelope.Signer, m images.Manifest, files map[Part]string) (*Image, error) {
	if _, err := images.ParseRef(m.Ref().String()); err != nil {
		return nil, err
	}
	i, err := c.add(ctx, key, m, files)
	if errors.Is(err, ErrExists) {
		return nil, fmt.Errorf("image %s %w", m.Ref(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("add image %s: %w", m.Ref(), err)
	}
	return i, nil
}

func (c *Catalogue) add(ctx context.Context, key envelope.Signer, m images.Manifest, files map[Part]string) (*Image, error) {
	if !slices.ContainsFunc(c.Trusted(), func(k envelope.PublicKey) bool { return k.ID() == key.Public().ID() }) {
		return nil, fmt.Errorf("key %s is not one that this catalogue trusts", key.Public().ID())
	}
	return c.write(ctx, m.Ref(), func(w *writer) (*Image, error) {
		for _, part := range Parts {
			f, err := os.Open(files[part])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", part, err)
			}
			*Describe(&m, part), err = w.write(f, c.blob)
			f.Close()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", part, err)
			}
		}
		data, digest, err := m.Seal(key)
		if err != nil {
			return nil, err
		}
		return w.publish(c, m, digest, data)
	})
}

// write has fill write the files of an image that will be called ref, once no
// other process writes. What fill wrote is undone if it fails.
func (c *Catalogue) write(ctx context.Context, ref images.Ref, fill func(*writer) (*Image, error)) (*Image, error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := c.sweep(); err != nil {
		return nil, err
	}
	if err := c.free(ref); err != nil {
		return nil, err
	}
	w := &writer{ctx: ctx}
	i, err := fill(w)
	if err != nil {
		w.undo()
	}
	return i, err
}

// free tells whether an image may be called ref.
func (c *Catalogue) free(ref images.Ref) error {
	if _, err := os.Lstat(c.ref(ref)); err == nil {
		return ErrExists
	}
	if _, err := os.Lstat(c.tag(ref)); err == nil {
		return errors.New("is a tag, and what it stands for may change; choose another version")
	}
	return nil
}

// publish writes the manifest of an image whose blobs are there, and then its
// ref.
func (w *writer) publish(c *Catalogue, m images.Manifest, digest string, data []byte) (*Image, error) {
	if _, err := w.write(bytes.NewReader(data), func(string) string { return c.manifest(digest) }); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := w.write(strings.NewReader(digest+"\n"), func(string) string { return c.ref(m.Ref()) }); err != nil {
		return nil, fmt.Errorf("ref: %w", err)
	}
	return &Image{Manifest: m, Digest: digest, Envelope: data, catalogue: c}, nil
}

// writer writes the files of one image and remembers them.
type writer struct {
	ctx  context.Context
	made []string // paths that weren't there before
}

// write copies r to a read-only file that appears under its path at once and
// whole. The path may depend on the SHA-256 of the contents. A file that is
// there is replaced, so bytes that had rotted heal.
func (w *writer) write(r io.Reader, pathOf func(sum string) string) (images.Part, error) {
	dir := filepath.Dir(pathOf("any"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return images.Part{}, err
	}
	f, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return images.Part{}, err
	}
	defer os.Remove(f.Name()) // in vain once the file has its final name
	defer f.Close()
	large := bufio.NewWriterSize(f, 256<<10) // as in package wholefile
	part, err := images.DigestPart(io.TeeReader(ctxio.NewReader(w.ctx, r), large))
	if err != nil {
		return images.Part{}, err
	}
	if err := errors.Join(large.Flush(), f.Chmod(0o444), f.Sync(), f.Close()); err != nil {
		return images.Part{}, err
	}
	path := pathOf(part.SHA256)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		w.made = append(w.made, path)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return images.Part{}, err
	}
	// The name must survive a power cut, and the folder's own name too.
	return part, errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// undo removes what write has made.
func (w *writer) undo() {
	for _, path := range slices.Backward(w.made) {
		os.Remove(path)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock waits until no other process adds. The lock ends with the process.
func (c *Catalogue) lock(ctx context.Context) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(ctx, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process is adding an image: %w", err)
	}
	return f.Close, nil
}

// lockFile waits until no other process holds the lock of f.
func lockFile(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		// A blocking flock could not be interrupted by ctx.
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// sweep removes what processes that died while adding have left. The caller
// holds the lock.
func (c *Catalogue) sweep() error {
	for _, folder := range []string{"blobs", "manifests", "refs/*", "tags/*"} {
		names, err := fs.Glob(os.DirFS(c.dir), folder+"/"+temporary+"*")
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.Remove(filepath.Join(c.dir, name)); err != nil {
				return fmt.Errorf("remove what an interrupted build left: %w", err)
			}
		}
	}
	return nil
}
