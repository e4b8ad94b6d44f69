// Mkoci makes a container image of the Debian package, without a container
// engine: one layer with what the package installs, and how to run it.
//
//	mkoci -o FILE PACKAGE
//
// FILE is a tar archive of an OCI image layout, as 'podman load' and 'docker
// load' read it. The same package gives the same bytes. dpkg-deb reads the package.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkoci:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mkoci", flag.ExitOnError)
	output := flags.String("o", "swarmboot.oci.tar", "write the image to `FILE`")
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() != 1 {
		return fmt.Errorf("want one Debian package, got %d arguments", flags.NArg())
	}
	image, version, err := fromPackage(ctx, flags.Arg(0))
	if err != nil {
		return fmt.Errorf("container image of %s: %w", flags.Arg(0), err)
	}
	work, err := os.MkdirTemp("", "mkoci-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := writeLayout(work, image, version); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	if err := archive(work, *output); err != nil {
		return fmt.Errorf("write %s: %w", *output, err)
	}
	return nil
}

// fromPackage makes the image, and returns the package's version.
func fromPackage(ctx context.Context, deb string) (image v1.Image, version string, err error) {
	fields, err := exec.CommandContext(ctx, "dpkg-deb", "--show", "--showformat", "${Version} ${Architecture}", deb).Output()
	if err != nil {
		return nil, "", err
	}
	version, arch, _ := strings.Cut(string(fields), " ")
	files, err := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb).Output()
	if err != nil {
		return nil, "", err
	}
	content, made, err := rootOf(files)
	if err != nil {
		return nil, "", err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, "", err
	}
	image = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: made}, CreatedBy: "mkoci " + filepath.Base(deb)}})
	if err != nil {
		return nil, "", err
	}
	image, err = mutate.ConfigFile(image, config(image, arch, version, made))
	return image, version, err
}

// config says how the image is run: as root of the container, which needs two
// capabilities, and in the host's network, where the machines are.
func config(image v1.Image, arch, version string, made time.Time) *v1.ConfigFile {
	c, err := image.ConfigFile() // of an image that was made here
	if err != nil {
		c = &v1.ConfigFile{}
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", arch, v1.Time{Time: made}
	c.Config = v1.Config{
		Entrypoint: []string{"/usr/bin/swarmboot"},
		Cmd:        []string{"serve", "--config", "/etc/swarmboot/swarmboot.yaml"},
		Env:        []string{"PATH=/usr/bin"},
		WorkingDir: "/",
		Volumes:    map[string]struct{}{"/etc/swarmboot": {}, "/var/lib/swarmboot": {}},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "Swarmboot",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return c
}

// rootOf is the layer: what the package installs, with the folders that a running
// system has besides. made is the time of its newest file.
func rootOf(files []byte) (layer []byte, made time.Time, err error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for r := tar.NewReader(bytes.NewReader(files)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, made, err
		}
		if h.Name = strings.TrimPrefix(h.Name, "./"); h.Name == "" {
			continue // the root itself
		}
		if h.ModTime.After(made) {
			made = h.ModTime
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(h); err != nil {
			return nil, made, err
		}
		if _, err := io.Copy(w, r); err != nil {
			return nil, made, err
		}
	}
	for _, dir := range []struct {
		name string
		mode int64
	}{{"tmp/", 0o1777}, {"var/", 0o755}, {"var/lib/", 0o755}, {"var/lib/swarmboot/", 0o755}} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode, ModTime: made, Format: tar.FormatPAX}); err != nil {
			return nil, made, err
		}
	}
	err = w.Close()
	return out.Bytes(), made, err
}

// writeLayout writes the image into the folder dir.
func writeLayout(dir string, image v1.Image, version string) error {
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return l.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "swarmboot:" + strings.ReplaceAll(version, "+", "-")}))
}

// archive writes the folder dir to a tar file in which nothing tells when.
func archive(dir, file string) error {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}
