package importer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"swarmboot/images/internal/ctxio"
)

// OCI unpacks a container image. A place that begins with / or . is a path: of
// an OCI image layout, after which :TAG may choose one of its images, or of an
// archive that docker save wrote. Any other is the reference of an image in a
// registry; names of users and passwords are those of docker login.
func OCI(ctx context.Context, j Job) error {
	image, err := openOCI(ctx, j)
	if err != nil {
		err = fmt.Errorf("open container image %s: %w", j.Place, err)
		if _, noPath := os.Stat(j.Place); noPath == nil && !isPath(j.Place) {
			err = fmt.Errorf("%w; the path of that name is oci:./%s", err, j.Place)
		}
		return err
	}
	if err := unpackOCI(ctx, j, image); err != nil {
		return fmt.Errorf("unpack container image %s: %w", j.Place, err)
	}
	return nil
}

func openOCI(ctx context.Context, j Job) (v1.Image, error) {
	platform := v1.Platform{OS: "linux", Architecture: j.Arch}
	if !isPath(j.Place) {
		ref, err := name.ParseReference(j.Place)
		if err != nil {
			return nil, err
		}
		return remote.Image(ref, remote.WithContext(ctx), remote.WithPlatform(platform), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	}
	file, tag := j.Place, ""
	info, err := os.Stat(file)
	if before, after, found := cutLast(j.Place, ":"); err != nil && found {
		file, tag = before, after
		info, err = os.Stat(file)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return tarball.ImageFromPath(file, nil)
	}
	index, err := layout.ImageIndexFromPath(file)
	if err != nil {
		return nil, fmt.Errorf("%w; a folder that is a root itself is dir:%s", err, file)
	}
	return choose(index, tag, platform)
}

func isPath(place string) bool { return strings.HasPrefix(place, "/") || strings.HasPrefix(place, ".") }

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// tagAnnotation is where a layout says what its images are called.
const tagAnnotation = "org.opencontainers.image.ref.name"

// choose finds the one image of the platform, in indexes within the index too.
func choose(index v1.ImageIndex, tag string, platform v1.Platform) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []v1.Image
	var others []string
	for _, d := range manifest.Manifests {
		if tag != "" && d.Annotations[tagAnnotation] != tag {
			others = append(others, d.Annotations[tagAnnotation])
			continue
		}
		switch {
		case d.MediaType.IsIndex():
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			image, err := choose(inner, "", platform)
			if err != nil {
				return nil, err
			}
			found = append(found, image)
		case d.MediaType.IsImage() && (d.Platform == nil || d.Platform.Architecture == platform.Architecture && d.Platform.OS == platform.OS):
			image, err := index.Image(d.Digest)
			if err != nil {
				return nil, err
			}
			found = append(found, image)
		case d.Platform != nil:
			others = append(others, d.Platform.String())
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("it holds %d images for %s; choose one by its tag, as in oci:./layout:TAG", len(found), platform)
	}
	return nil, fmt.Errorf("it holds no image for %s%s, only %s", platform, strings.TrimSuffix(" with tag "+tag, " with tag "), strings.Join(others, ", "))
}

// unpackOCI applies the layers, lowest first. Each must be what the image's
// configuration says it is.
func unpackOCI(ctx context.Context, j Job, image v1.Image) error {
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	if config.Architecture != j.Arch {
		return fmt.Errorf("it is for %s, not %s; see --arch", config.Architecture, j.Arch)
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	if len(layers) == 0 || len(layers) != len(config.RootFS.DiffIDs) {
		return fmt.Errorf("%d layers, and its configuration names %d", len(layers), len(config.RootFS.DiffIDs))
	}
	total := int64(0)
	for _, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return err
		}
		total += size
	}
	u, err := newUntarrer(j.Root)
	if err != nil {
		return err
	}
	done := int64(0)
	for i, layer := range layers {
		if err := u.layer(ctx, layer, config.RootFS.DiffIDs[i]); err != nil {
			return errors.Join(fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err), u.close())
		}
		size, _ := layer.Size()
		done += size
		j.Progress(done, total)
	}
	j.LostACLs(u.acls)
	return u.close()
}

func (u *untarrer) layer(ctx context.Context, layer v1.Layer, want v1.Hash) error {
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	if err := u.apply(io.TeeReader(ctxio.NewReader(ctx, r), sum), true); err != nil {
		return err
	}
	if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != want.String() {
		return fmt.Errorf("its contents have %s; the image says %s", got, want)
	}
	return nil
}
