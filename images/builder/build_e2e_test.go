package builder

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
)

// TestBuildDebian builds a real image from Debian's mirror, after two builds
// that were stopped half-way.
func TestBuildDebian(t *testing.T) {
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("needs root, mmdebstrap, a Debian mirror and a minute; set SWARMBOOT_E2E=1")
	}
	c, key := openCatalogue(t)
	script := filepath.Join(t.TempDir(), "customize")
	write(t, script, "#!/bin/sh\necho made by hand > \"$1/etc/motd\"\n")
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Ref: images.Ref{Name: "lab", Version: "1"}, From: "debian:trixie",
		Kernel: "linux-image-cloud-amd64", Packages: []string{"openssh-server"}, Customize: script,
		Catalogue: c, Key: key,
	}

	for name, stopAt := range map[string]func(*Options, func()){
		"in bootstrap": func(o *Options, stop func()) {
			o.Log = slog.New(onDebug{func(line string) {
				if strings.Contains(line, "installing essential packages") {
					stop()
				}
			}})
		},
		"in squashfs": func(o *Options, stop func()) {
			o.Progress = func(step string, _, _ int64) {
				if step == "squashfs" {
					stop()
				}
			}
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		stopped := o
		stopAt(&stopped, cancel)
		if _, err := Build(ctx, stopped); !errors.Is(err, context.Canceled) {
			t.Fatalf("build stopped %s = %v; want context.Canceled", name, err)
		}
		if _, err := os.Lstat(c.Dir() + ".build"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("build stopped %s: the work folder is still there (%v)", name, err)
		}
		if list, err := c.List(); err != nil || len(list) != 0 {
			t.Errorf("build stopped %s: List() = %v, %v; want nothing", name, list, err)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), c.Dir()) {
		t.Errorf("mounts of a stopped build are still there (%v):\n%s", err, mounts)
	}

	i, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range catalogue.Parts {
		if err := i.Verify(part); err != nil {
			t.Error(err)
		}
	}
	torrent, err := os.ReadFile(i.Path(catalogue.Torrent))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := metainfo.Parse(torrent, i.Manifest.Pieces); err != nil {
		t.Error(err)
	}
	archive, err := os.ReadFile(i.Path(catalogue.Modules))
	if err != nil {
		t.Fatal(err)
	}
	modules := unpack(t, archive)
	for _, name := range []string{"kernel/fs/squashfs/squashfs.ko", "kernel/drivers/net/virtio_net.ko", "modules.dep"} {
		if modules["lib/modules/"+i.Manifest.KernelRelease+"/"+name] == "" {
			t.Errorf("the module archive lacks %s", name)
		}
	}

	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("unsquashfs", "-quiet", "-no-progress", "-d", root, i.Path(catalogue.Root)).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, out)
	}
	if motd, err := os.ReadFile(filepath.Join(root, "etc/motd")); err != nil || string(motd) != "made by hand\n" {
		t.Errorf("etc/motd = %q, %v; want what the customize program wrote", motd, err)
	}
	for _, name := range []string{"etc/hostname", "etc/resolv.conf", "etc/ssh/ssh_host_ed25519_key", "vmlinuz", "boot/vmlinuz-" + i.Manifest.KernelRelease} {
		if _, err := os.Lstat(filepath.Join(root, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the root has %s (%v)", name, err)
		}
	}
	if _, err := Build(t.Context(), o); !errors.Is(err, catalogue.ErrExists) {
		t.Errorf("second build of lab@1 = %v; want ErrExists", err)
	}
}

// onDebug calls itself with the lines that tools print.
type onDebug struct{ line func(string) }

func (onDebug) Enabled(context.Context, slog.Level) bool { return true }
func (h onDebug) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h onDebug) WithGroup(string) slog.Handler          { return h }
func (h onDebug) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "line" {
			h.line(a.Value.String())
		}
		return true
	})
	return nil
}
