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

// ErrTagged says that a tag stands for the image that is to be removed.
var ErrTagged = errors.New("has a tag; give the tag to another image or take it away first")

// Remove takes the name of an image away: no machine boots it any more. Its
// files stay until Collect. An image that a tag stands for is not removed; the
// caller knows whether a machine runs it.
func (c *Catalogue) Remove(ctx context.Context, ref images.Ref) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	defer unlock()
	if _, err := os.Lstat(c.tag(ref)); err == nil {
		return fmt.Errorf("%s is a tag, not an image; take it away with untag", ref)
	}
	digest, err := os.ReadFile(c.ref(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image %s: %w, which has %s", ref, ErrNotFound, c.inventory())
	}
	if err != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	tags, err := c.names("tags")
	if err != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	for _, tag := range tags {
		if target, err := os.ReadFile(c.tag(tag)); err != nil {
			return fmt.Errorf("remove image %s: tag %s: %w", ref, tag, err)
		} else if string(target) == string(digest) {
			return fmt.Errorf("image %s %w (%s)", ref, ErrTagged, tag)
		}
	}
	if err := os.Remove(c.ref(ref)); err != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	return syncDir(filepath.Dir(c.ref(ref)))
}

// Collect removes the files that no image needs and returns how many bytes they
// had. If it cannot tell what an image needs, it removes nothing.
func (c *Catalogue) Collect(ctx context.Context) (freed int64, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := c.sweep(); err != nil {
		return 0, err
	}
	list, err := c.List()
	tags, tagsErr := c.Tags()
	if err := errors.Join(err, tagsErr); err != nil {
		return 0, fmt.Errorf("nothing is freed, as nobody knows what these need; mend them, or take their names away with 'swarmboot image rm' and 'untag': %w", err)
	}
	for _, image := range tags {
		list = append(list, image)
	}
	needed := map[string]bool{}
	for _, image := range list {
		needed[c.manifest(image.Digest)] = true
		for _, part := range Parts {
			needed[image.Path(part)] = true
		}
	}
	for _, folder := range []string{"manifests", "blobs"} { // a manifest never without its blobs
		entries, err := os.ReadDir(filepath.Join(c.dir, folder))
		if err != nil {
			return freed, err
		}
		for _, entry := range entries {
			path := filepath.Join(c.dir, folder, entry.Name())
			if needed[path] || strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			info, err := entry.Info()
			if err == nil {
				err = os.Remove(path)
			}
			if err != nil {
				return freed, err
			}
			freed += info.Size()
		}
	}
	partial, err := c.collectPartial()
	return freed + partial, err
}
