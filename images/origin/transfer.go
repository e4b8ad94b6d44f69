package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/envelope"
)

const (
	maxDigest   = 256      // of the file of a ref or tag, bytes
	maxManifest = 64 << 20 // a manifest has 32 bytes for each piece
)

// found is an image in a store: its manifest has been verified.
type found struct {
	images.Manifest
	digest string
	sealed []byte
}

// Find looks for the image that ref names, by its version or by a tag, and
// verifies its manifest with the trusted keys: catalogue.ErrNotFound.
func (s *Store) Find(ctx context.Context, trusted []envelope.PublicKey, ref images.Ref) (images.Manifest, error) {
	i, err := s.find(ctx, trusted, ref)
	return i.Manifest, err
}

func (s *Store) find(ctx context.Context, trusted []envelope.PublicKey, ref images.Ref) (i found, err error) {
	want, err := s.digest(ctx, catalogue.RefName(ref))
	if errors.Is(err, catalogue.ErrNotFound) {
		want, err = s.digest(ctx, catalogue.TagName(ref))
	}
	if errors.Is(err, catalogue.ErrNotFound) {
		return found{}, fmt.Errorf("image %s: %w, and %s has none either", ref, catalogue.ErrNotFound, s)
	}
	if err != nil {
		return found{}, err
	}
	if i.sealed, err = s.read(ctx, catalogue.ManifestName(want), maxManifest); err != nil {
		return found{}, err
	}
	if i.Manifest, i.digest, err = images.OpenManifest(trusted, i.sealed); err != nil {
		return found{}, fmt.Errorf("image %s at %s: %w; 'swarmboot key trust' is how to trust who signed it", ref, s, err)
	}
	if i.digest != want || i.Name != ref.Name {
		return found{}, fmt.Errorf("image %s at %s: it has the manifest of %s, digest %s", ref, s, i.Ref(), i.digest)
	}
	return i, nil
}

// Tagged is the digest of the image that a tag stands for in the store:
// catalogue.ErrNotFound.
func (s *Store) Tagged(ctx context.Context, tag images.Ref) (digest string, err error) {
	return s.digest(ctx, catalogue.TagName(tag))
}

// digest reads the file of a ref or tag.
func (s *Store) digest(ctx context.Context, name string) (string, error) {
	data, err := s.read(ctx, name, maxDigest)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", catalogue.ErrNotFound, err)
	}
	return strings.TrimSpace(string(data)), err
}

// Pull brings the image that ref names into the catalogue. If ref is a tag of the
// store's, it stands for the image here too from then on. Progress is told how
// many bytes of how many have come.
func (s *Store) Pull(ctx context.Context, c *catalogue.Catalogue, ref images.Ref, progress func(done, total int64)) (*catalogue.Image, error) {
	i, err := s.find(ctx, c.Trusted(), ref)
	if err != nil {
		return nil, fmt.Errorf("pull: %w", err)
	}
	image, err := c.Get(i.Ref())
	if err != nil || image.Digest != i.digest { // Receive tells of another image of that name
		if image, err = s.receive(ctx, c, i, progress); err != nil {
			return nil, fmt.Errorf("pull image %s from %s: %w", ref, s, err)
		}
	}
	if i.Ref() != ref {
		if _, err := c.Tag(ctx, ref, i.Ref()); err != nil {
			return nil, fmt.Errorf("pull: %w", err)
		}
	}
	return image, nil
}

// receive fetches the parts of an image, each into a file beside the catalogue's,
// and adds them when all have come: meanwhile others may add images.
func (s *Store) receive(ctx context.Context, c *catalogue.Catalogue, i found, progress func(done, total int64)) (*catalogue.Image, error) {
	var done int64
	arrived := func(n int64) {
		done += n
		progress(done, total(i.Manifest))
	}
	parts := map[catalogue.Part]*os.File{}
	defer func() {
		for _, f := range parts {
			f.Close()
		}
	}()
	for _, part := range catalogue.Parts {
		f, err := s.bring(ctx, c, *catalogue.Describe(&i.Manifest, part), arrived)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
		parts[part] = f
	}
	image, err := c.Receive(ctx, i.sealed, func(part catalogue.Part) (io.Reader, error) {
		_, err := parts[part].Seek(0, io.SeekStart)
		return parts[part], err
	})
	if err != nil {
		return nil, err
	}
	for _, part := range catalogue.Parts {
		c.DropPartial(catalogue.Describe(&i.Manifest, part).SHA256)
	}
	return image, nil
}

// bring opens a blob that is in the catalogue already, or else fetches it.
func (s *Store) bring(ctx context.Context, c *catalogue.Catalogue, want images.Part, arrived func(n int64)) (*os.File, error) {
	f, err := c.Partial(ctx, want.SHA256) // first: it may come while this waits
	if err != nil {
		return nil, err
	}
	if blob, err := c.OpenBlob(want); err == nil {
		arrived(want.Size)
		return blob, f.Close()
	}
	if err := s.fetch(ctx, want, f, arrived); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// total is how many bytes the parts of an image have.
func total(m images.Manifest) (n int64) {
	for _, part := range catalogue.Parts {
		n += catalogue.Describe(&m, part).Size
	}
	return n
}

// Push brings an image into the store. Of its parts those are sent that the store
// lacks. With a tag, unless it is zero, that stands there for the image from then
// on. A store that can only be read is ErrReadOnly.
func (s *Store) Push(ctx context.Context, image *catalogue.Image, tag images.Ref, progress func(done, total int64)) error {
	if err := s.push(ctx, image, tag, progress); err != nil {
		return fmt.Errorf("push image %s: %w", image.Manifest.Ref(), err)
	}
	return nil
}

func (s *Store) push(ctx context.Context, image *catalogue.Image, tag images.Ref, progress func(done, total int64)) error {
	to, ok := s.files.(writable)
	if !ok {
		return ErrReadOnly
	}
	ref := image.Manifest.Ref()
	there, err := s.digest(ctx, catalogue.RefName(ref))
	switch {
	case err == nil && there != image.Digest:
		return fmt.Errorf("%s has another image of that name, digest %s; an image never changes: choose another version", s, there)
	case err != nil && !errors.Is(err, catalogue.ErrNotFound):
		return err
	}
	var done int64
	for _, part := range catalogue.Parts {
		want := *catalogue.Describe(&image.Manifest, part)
		if err := s.sendPart(ctx, to, image, part, want); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		done += want.Size
		progress(done, total(image.Manifest))
	}
	// As in a catalogue: an image is there when its ref is.
	write := func(name string, data []byte) error {
		return s.send(ctx, to, name, bytes.NewReader(data), int64(len(data)))
	}
	digest := []byte(image.Digest + "\n")
	if err := write(catalogue.ManifestName(image.Digest), image.Envelope); err != nil {
		return err
	}
	if err := write(catalogue.RefName(ref), digest); err != nil || tag.IsZero() {
		return err
	}
	return write(catalogue.TagName(tag), digest)
}

func (s *Store) sendPart(ctx context.Context, to writable, image *catalogue.Image, part catalogue.Part, want images.Part) error {
	name := catalogue.BlobName(want.SHA256)
	if has, err := s.has(ctx, to, name, want.Size); has || err != nil {
		return err
	}
	if err := image.Verify(part); err != nil {
		return err
	}
	f, err := image.Open(part)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.send(ctx, to, name, f, want.Size)
}
