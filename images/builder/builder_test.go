package builder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/envelope"
)

func openCatalogue(t testing.TB) (*catalogue.Catalogue, envelope.PrivateKey) {
	t.Helper()
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalogue.Open(filepath.Join(t.TempDir(), "images"), []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// write makes a file and the folders above it.
func write(t testing.TB, path, data string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestBuildRefusesEarly(t *testing.T) {
	c, key := openCatalogue(t)
	script := filepath.Join(t.TempDir(), "script")
	write(t, script, "#!/bin/sh\n")
	ref := images.Ref{Name: "lab", Version: "1"}
	for want, o := range map[string]Options{
		"debian:SUITE":     {Ref: ref, From: "fedora:41"},
		"debian:trixie":    {Ref: ref, From: "debian"},
		"after the colon":  {Ref: ref, From: "tar:"},
		"name@version":     {Ref: ref, From: "image:lab"},
		"oci:, squashfs:":  {Ref: ref, From: "debian:trixie", KernelFrom: "here"},
		"--customize":      {Ref: ref, From: "tar:root.tar", Packages: []string{"vim"}},
		"--package":        {Ref: ref, From: "debian:trixie", Packages: []string{"vim,emacs"}},
		"chmod +x":         {Ref: ref, From: "debian:trixie", Customize: script},
		"no such file":     {Ref: ref, From: "debian:trixie", Customize: script + "s"},
		"name and version": {Ref: images.Ref{Name: "../lab", Version: "1"}, From: "debian:trixie"},
	} {
		o.Catalogue, o.Key = c, key
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Build = %v; want an error with %q", err, want)
		}
	}
}

func TestWorkFolder(t *testing.T) {
	c, _ := openCatalogue(t)
	write(t, filepath.Join(c.Dir()+".build", "root", "left"), "by a killed build")
	work, remove, err := openWork(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) != 0 {
		t.Errorf("work folder holds %v, %v; want nothing", left, err)
	}
	if _, _, err := openWork(c.Dir()); err == nil || !strings.Contains(err.Error(), "another build") {
		t.Errorf("second openWork = %v; want it refused", err)
	}
	remove()
	if _, err := os.Stat(work); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("work folder after the build: %v; want it gone", err)
	}
	if _, remove, err = openWork(c.Dir()); err != nil {
		t.Errorf("openWork after the build = %v", err)
	} else {
		remove()
	}
}
