package importer

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// container makes an image of layers, lowest first.
func container(t *testing.T, arch string, layers ...[]byte) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: arch, OS: "linux", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

func twoLayers(t *testing.T) v1.Image {
	return container(t, "amd64",
		archive(t, entry{name: "etc/keep", data: "1"}, entry{name: "etc/drop", data: "1"}),
		archive(t, entry{name: "etc/.wh.drop"}, entry{name: "etc/again", kind: '1', link: "etc/keep"}))
}

func isTwoLayers(t *testing.T, j Job) {
	t.Helper()
	if err := OCI(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	got := files(t, j.Root)
	if len(got) != 3 || got["etc/keep"] != "1" || got["etc/again"] != "1" {
		t.Errorf("the image became %v; want etc/keep and etc/again", got)
	}
}

func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	other := container(t, "arm64", archive(t, entry{name: "arm", data: "1"}))
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for tag, index := range map[string]v1.ImageIndex{
		"both": mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: twoLayers(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
			mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}}),
	} {
		if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{tagAnnotation: tag})); err != nil {
			t.Fatal(err)
		}
	}
	isTwoLayers(t, job(t, dir))
	if err := p.AppendImage(twoLayers(t), layout.WithAnnotations(map[string]string{tagAnnotation: "one"})); err != nil {
		t.Fatal(err)
	}
	isTwoLayers(t, job(t, dir+":one"))
	isTwoLayers(t, job(t, dir+":both"))
	for place, want := range map[string]string{
		dir:                      "2 images for linux/amd64; choose one by its tag",
		dir + ":none":            "no image for linux/amd64 with tag none, only both, one",
		dir + "-not":             "no such file",
		filepath.Join(dir, ".."): "dir:",
	} {
		if err := OCI(t.Context(), job(t, place)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("OCI(%s) = %v; want %q", place, err, want)
		}
	}
}

func TestLayoutTamperedWith(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(twoLayers(t)); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	fake, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive(t, entry{name: "etc/evil", data: "1"}))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := fake.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	evil, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		if data, err := os.ReadFile(blob); err != nil || !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
			continue // manifest and configuration
		}
		if err := os.WriteFile(blob, evil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := OCI(t.Context(), job(t, dir)); err == nil || !strings.Contains(err.Error(), "layer 1 of 2") || !strings.Contains(err.Error(), "the image says") {
		t.Errorf("OCI of a changed layer = %v; want it refused", err)
	}
}

func TestDockerArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := tarball.WriteToFile(file, name.MustParseReference("lab:1"), twoLayers(t)); err != nil {
		t.Fatal(err)
	}
	isTwoLayers(t, job(t, file))
	wrong := job(t, file)
	wrong.Arch = "arm64"
	if err := OCI(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "for amd64, not arm64; see --arch") {
		t.Errorf("OCI for another processor = %v; want it refused", err)
	}
}

func TestRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/team/lab:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, twoLayers(t)); err != nil {
		t.Fatal(err)
	}
	isTwoLayers(t, job(t, ref.String()))
	if err := OCI(t.Context(), job(t, ref.Context().Tag("2").String())); err == nil || !strings.Contains(err.Error(), "/team/lab:2") {
		t.Errorf("OCI of an image that isn't there = %v; want its name", err)
	}
}
