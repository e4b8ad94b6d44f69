package catalogue

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"swarmboot/images"
	"swarmboot/images/internal/ctxio"
	"swarmboot/initramfs/envelope"
)

// manifestName is the first file in an exported image; its parts follow under
// their names.
const manifestName = "manifest.json"

// maxManifest bounds how much of an import is held in memory: a manifest has 32
// bytes for each piece.
const maxManifest = 64 << 20

// Export writes the image as a tar archive that Import reads. The same image
// gives the same archive.
func (i *Image) Export(ctx context.Context, w io.Writer) error {
	fail := func(err error) error { return fmt.Errorf("export image %s: %w", i.Manifest.Ref(), err) }
	archive := tar.NewWriter(w)
	header := func(name string, size int64) error {
		return archive.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o444, ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
	}
	if err := header(manifestName, int64(len(i.Envelope))); err != nil {
		return fail(err)
	}
	if _, err := archive.Write(i.Envelope); err != nil {
		return fail(err)
	}
	for _, part := range Parts {
		if err := i.Verify(part); err != nil {
			return err
		}
		f, err := i.Open(part)
		if err != nil {
			return err
		}
		err = header(string(part), Describe(&i.Manifest, part).Size)
		if err == nil {
			_, err = io.Copy(archive, ctxio.NewReader(ctx, f))
		}
		f.Close()
		if err != nil {
			return fail(fmt.Errorf("%s: %w", part, err))
		}
	}
	if err := archive.Close(); err != nil {
		return fail(err)
	}
	return nil
}

// Import adds an exported image under its own name, with the signature that it
// has; a key that the catalogue trusts must have made it. An image that is here
// already is no error.
func (c *Catalogue) Import(ctx context.Context, r io.Reader) (*Image, error) {
	archive := tar.NewReader(ctxio.NewReader(ctx, r))
	if err := next(archive, manifestName); err != nil {
		return nil, fmt.Errorf("import image: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(archive, maxManifest))
	if err != nil {
		return nil, fmt.Errorf("import image: %w", err)
	}
	return c.Receive(ctx, data, func(part Part) (io.Reader, error) {
		return archive, next(archive, string(part))
	})
}

// Receive adds an image that was signed elsewhere: sealed is its manifest, and
// open gives the bytes of its parts, which are compared with it. The image keeps
// its name and its signature; a key that the catalogue trusts must have made it.
// An image that is here already is no error.
func (c *Catalogue) Receive(ctx context.Context, sealed []byte, open func(Part) (io.Reader, error)) (*Image, error) {
	m, digest, err := images.OpenManifest(c.Trusted(), sealed)
	if errors.Is(err, envelope.ErrNotTrusted) {
		err = fmt.Errorf("%w; 'swarmboot key trust' is how to trust a key", err)
	}
	if err != nil {
		return nil, fmt.Errorf("import image: %w", err)
	}
	i, err := c.write(ctx, m.Ref(), func(w *writer) (*Image, error) {
		for _, part := range Parts {
			want := *Describe(&m, part)
			r, err := open(part)
			if err != nil {
				return nil, err
			}
			got, err := w.write(io.LimitReader(r, want.Size+1), c.blob)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", part, err)
			}
			if got != want {
				return nil, fmt.Errorf("%s has %d bytes with SHA-256 %s; the manifest says %d bytes with %s", part, got.Size, got.SHA256, want.Size, want.SHA256)
			}
		}
		return w.publish(c, m, digest, sealed)
	})
	if errors.Is(err, ErrExists) {
		if there, err := c.read(m.Ref()); err == nil && there.Digest == digest {
			return there, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("import image %s: %w", m.Ref(), err)
	}
	return i, nil
}

// next goes on to the file called name, which must come now.
func next(archive *tar.Reader, name string) error {
	h, err := archive.Next()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("this is no exported image, or it is cut short: no %s in it", name)
	case err != nil:
		return err
	case h.Name != name:
		return fmt.Errorf("this is no exported image: it has %q where %s should be", h.Name, name)
	}
	return nil
}

// Added is when the image came into the catalogue.
func (i *Image) Added() (time.Time, error) {
	info, err := os.Lstat(i.catalogue.ref(i.Manifest.Ref()))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, fmt.Errorf("image %s: %w", i.Manifest.Ref(), ErrNotFound)
	}
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}
