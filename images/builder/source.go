package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/importer"
)

// A source is where a root or a kernel comes from, written kind:place.
type source struct{ kind, place string }

func (s source) String() string { return s.kind + ":" + s.place }

// importers are the kinds of source that bring a root as it is. There are two
// more: debian, whose root is installed here (debian.go), and image, which is
// in the catalogue.
var importers = map[string]importer.Importer{
	"oci":      importer.OCI,
	"tar":      importer.Tar,
	"dir":      importer.Dir,
	"disk":     importer.Disk,
	"squashfs": importer.Squashfs,
}

func parseSource(s string) (source, error) {
	kind, place, _ := strings.Cut(s, ":")
	switch {
	case kind == "debian" && place == "":
		return source{}, fmt.Errorf("cannot build from %q; want debian:SUITE, as debian:trixie", s)
	case kind == "image":
		if _, err := images.ParseRef(place); err != nil {
			return source{}, err
		}
	case kind != "debian" && importers[kind] == nil:
		return source{}, fmt.Errorf("cannot build from %q; want debian:SUITE, image:NAME@VERSION, or a path or reference after %s",
			s, strings.Join(slices.Sorted(maps.Keys(importers)), ":, ")+":")
	case place == "":
		return source{}, fmt.Errorf("cannot build from %q: what comes after the colon?", s)
	}
	return source{kind, place}, nil
}

// unpack fills the folder root from s. It needs the folder work for itself.
func (s source) unpack(ctx context.Context, o Options, work, root string) error {
	if err := errors.Join(os.Mkdir(work, 0o711), os.Mkdir(root, 0o755)); err != nil {
		return err
	}
	switch s.kind {
	case "debian":
		return bootstrap(ctx, o, s.place, work, root)
	case "image":
		return unpackImage(ctx, o, s.place, work, root)
	}
	return importers[s.kind](ctx, s.job(o, work, root))
}

func (s source) job(o Options, work, root string) importer.Job {
	step := "unpack " + s.String()
	return importer.Job{
		Place: s.place, Root: root, Work: work, Arch: o.Arch, Log: o.Log,
		Progress: func(done, total int64) { o.Progress(step, done, total) },
		LostACLs: func(names []string) { warnOfACLs(names, o.Warn) },
	}
}

// unpackImage makes a root of an image that is in the catalogue, with its kernel
// where a distribution would have it.
func unpackImage(ctx context.Context, o Options, name, work, root string) error {
	ref, err := images.ParseRef(name)
	if err != nil {
		return err
	}
	image, err := o.Catalogue.Get(ref)
	if err != nil {
		return err
	}
	for _, part := range []catalogue.Part{catalogue.Kernel, catalogue.Root} {
		if err := image.Verify(part); err != nil {
			return err
		}
	}
	if image.Manifest.Arch != o.Arch {
		return fmt.Errorf("image %s is for %s, not %s", ref, image.Manifest.Arch, o.Arch)
	}
	if err := importer.Squashfs(ctx, source{"squashfs", image.Path(catalogue.Root)}.job(o, work, root)); err != nil {
		return err
	}
	kernel, err := os.ReadFile(image.Path(catalogue.Kernel))
	if err != nil {
		return err
	}
	inside, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := inside.MkdirAll("boot", 0o755); err != nil {
		return err
	}
	return inside.WriteFile("boot/vmlinuz-"+image.Manifest.KernelRelease, kernel, 0o644)
}

// Unpack puts the root of an image into the folder root, which it makes.
func Unpack(ctx context.Context, image *catalogue.Image, root string) error {
	if err := image.Verify(catalogue.Root); err != nil {
		return err
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	o := Options{Log: slog.New(slog.DiscardHandler), Progress: func(string, int64, int64) {}}
	return importer.Squashfs(ctx, source{"squashfs", image.Path(catalogue.Root)}.job(o, "", root))
}

// newest is the time of the latest change of a file in root that came from
// outside, in seconds. What a build itself writes counts as written then, so
// that the same source gives the same image whenever it is built.
func newest(root string, s source) (int64, error) {
	if s.kind == "debian" { // what maintainer scripts wrote is new each time
		files, err := filepath.Glob(filepath.Join(root, "usr/share/doc/*/copyright"))
		if err != nil {
			return 0, err
		}
		latest := int64(0)
		for _, file := range files {
			if info, err := os.Lstat(file); err == nil {
				latest = max(latest, info.ModTime().Unix())
			}
		}
		return latest, nil
	}
	latest := int64(0)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err == nil {
			latest = max(latest, info.ModTime().Unix())
		}
		return err
	})
	return latest, err
}
