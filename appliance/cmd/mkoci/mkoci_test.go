package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const control = "Package: swarmboot\nVersion: 1.2+git3\nArchitecture: amd64\nMaintainer: Nobody <root@localhost>\nDescription: a test\n"

// makePackage makes a package with one program in it.
func makePackage(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb (package dpkg)")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"DEBIAN/control": control, "usr/bin/swarmboot": "#!/bin/sh\n"} {
		path := filepath.Join(dir, "root", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(dir, "swarmboot.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", filepath.Join(dir, "root"), deb).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return deb
}

// unpack unpacks the archive and returns the one image in it.
func unpack(t *testing.T, file string) v1.Image {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else if data, err = io.ReadAll(r); err == nil {
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v, %v; want one image", manifest, err)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestImageOfPackage(t *testing.T) {
	deb, file := makePackage(t), filepath.Join(t.TempDir(), "image.tar")
	if err := run(t.Context(), []string{"-o", file, deb}); err != nil {
		t.Fatal(err)
	}
	image := unpack(t, file)
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	c, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Config.Entrypoint, " "); got != "/usr/bin/swarmboot" || c.Architecture != "amd64" || c.Config.Labels["org.opencontainers.image.version"] != "1.2+git3" {
		t.Errorf("the image is %s %+v", c.Architecture, c.Config)
	}
	var names []string
	for r := tar.NewReader(mutate.Extract(image)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d; want root", h.Name, h.Uid, h.Gid)
		}
		names = append(names, strings.TrimSuffix(h.Name, "/"))
	}
	for _, want := range []string{"usr/bin/swarmboot", "tmp", "var/lib/swarmboot"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in the image: %q", want, names)
		}
	}
}

func TestSamePackageSameBytes(t *testing.T) {
	deb, dir := makePackage(t), t.TempDir()
	var images [2][]byte
	for i := range images {
		file := filepath.Join(dir, "image.tar")
		if err := run(t.Context(), []string{"-o", file, deb}); err != nil {
			t.Fatal(err)
		}
		images[i], _ = os.ReadFile(file)
	}
	if len(images[0]) == 0 || !bytes.Equal(images[0], images[1]) {
		t.Errorf("two images of %d and %d bytes differ", len(images[0]), len(images[1]))
	}
}

func TestNoPackage(t *testing.T) {
	makePackage(t) // or skip
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := run(t.Context(), []string{"-o", file, "main.go"}); err == nil || !strings.Contains(err.Error(), "main.go") {
		t.Errorf("error = %v; want main.go named", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("an image was written")
	}
}
