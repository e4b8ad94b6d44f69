package builder

import (
	"os"
	"path/filepath"
	"testing"

	"swarmboot/images"
	"swarmboot/images/internal/tool"
)

// TestBuildFromElsewhere makes an image of a folder without a kernel and another
// folder with one, twice: what comes of it depends on nothing else.
func TestBuildFromElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the files of a root belong to many users, so it needs root")
	}
	if err := tool.Need(tool.Mksquashfs, tool.Depmod, tool.Cp); err != nil {
		t.Skip(err)
	}
	root, kernel := t.TempDir(), t.TempDir()
	write(t, filepath.Join(root, "sbin/init"), "#!/bin/sh\n")
	write(t, filepath.Join(root, "etc/fstab"), "LABEL=root / ext4 defaults 0 1\n")
	write(t, filepath.Join(root, "lib/modules/5.10.1/modules.dep"), "an older kernel's\n")
	write(t, filepath.Join(kernel, "boot/vmlinuz-6.12.1"), "signed")
	builtin := ""
	for _, name := range mustHave {
		builtin += "kernel/" + name + ".ko\n"
	}
	for name, text := range map[string]string{"modules.builtin": builtin, "modules.dep": "", "modules.softdep": "", "modules.alias": "", "modules.order": "", "modules.builtin.modinfo": ""} {
		write(t, filepath.Join(kernel, "lib/modules/6.12.1", name), text)
	}
	c, key := openCatalogue(t)
	var made [2]images.Manifest
	for i, version := range []string{"1", "2"} {
		image, err := Build(t.Context(), Options{
			Ref: images.Ref{Name: "old", Version: version}, From: "dir:" + root, KernelFrom: "dir:" + kernel,
			Arch: "amd64", Catalogue: c, Key: key,
		})
		if err != nil {
			t.Fatal(err)
		}
		if made[i] = image.Manifest; image.Manifest.KernelRelease != "6.12.1" {
			t.Errorf("kernel %q; want 6.12.1, the one from elsewhere", image.Manifest.KernelRelease)
		}
	}
	if a, b := made[0], made[1]; a.Root != b.Root || a.Kernel != b.Kernel || a.Modules != b.Modules {
		t.Errorf("two builds differ:\n%+v\n%+v", a.Root, b.Root)
	}
}
