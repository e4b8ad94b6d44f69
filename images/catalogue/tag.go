package catalogue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"swarmboot/images"
)

// Tag makes name@tag stand for the image to, which has the same name, from now
// on. Machines that boot by the tag get that image; those that run another go
// on with it. It returns what the tag stood for before, which may be zero.
func (c *Catalogue) Tag(ctx context.Context, tag, to images.Ref) (before images.Ref, err error) {
	fail := func(err error) (images.Ref, error) {
		return images.Ref{}, fmt.Errorf("tag %s: %w", tag, err)
	}
	image, err := c.Get(to)
	if err != nil {
		return fail(err)
	}
	if _, err := images.ParseRef(tag.String()); err != nil {
		return fail(err)
	}
	if tag.Name != image.Manifest.Name {
		return fail(fmt.Errorf("it can only stand for a version of %s, not for %s", tag.Name, image.Manifest.Ref()))
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	if _, err := os.Lstat(c.ref(tag)); err == nil {
		return fail(errors.New("an image has that very version, and it never changes; choose another word"))
	}
	if _, err := os.Lstat(c.ref(image.Manifest.Ref())); err != nil { // removed meanwhile
		return fail(err)
	}
	if old, err := c.readTag(tag); err == nil {
		before = old.Manifest.Ref()
	}
	w := writer{ctx: ctx}
	if _, err := w.write(strings.NewReader(image.Digest+"\n"), func(string) string { return c.tag(tag) }); err != nil {
		return fail(err)
	}
	return before, nil
}

// Untag takes a tag away. The image stays. Without that tag the error is
// ErrNotFound.
func (c *Catalogue) Untag(ctx context.Context, tag images.Ref) error {
	unlock, err := c.lock(ctx)
	if err == nil {
		defer unlock()
		err = os.Remove(c.tag(tag))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no tag %s: %w", tag, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("untag %s: %w", tag, err)
	}
	return syncDir(filepath.Dir(c.tag(tag)))
}

// Tags are all tags, with the images that they stand for.
func (c *Catalogue) Tags() (map[images.Ref]*Image, error) {
	names, err := c.names("tags")
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	tags := map[images.Ref]*Image{}
	var errs []error
	for _, name := range names {
		if tags[name], err = c.readTag(name); err != nil {
			errs = append(errs, fmt.Errorf("tag %s: %w", name, err))
			delete(tags, name)
		}
	}
	return tags, errors.Join(errs...)
}

// readTag follows a tag to its image.
func (c *Catalogue) readTag(tag images.Ref) (*Image, error) {
	digest, err := os.ReadFile(c.tag(tag))
	if err != nil {
		return nil, err
	}
	i, err := c.open(string(digest))
	if err == nil && i.Manifest.Name != tag.Name {
		return nil, fmt.Errorf("%w: it has the manifest of %s", errDamaged, i.Manifest.Ref())
	}
	return i, err
}
