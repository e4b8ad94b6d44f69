package builder

import (
	"context"
	"errors"
	"os"
	"os/exec"
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

func TestFindToolsNamesPackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := findTools()
	for _, tool := range tools {
		if err == nil || !strings.Contains(err.Error(), "apt install "+tool.pkg) {
			t.Errorf("findTools() = %v; want it to name the package %s", err, tool.pkg)
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

func TestRunTellsTheLastWords(t *testing.T) {
	var seen []string
	cmd := exec.Command("sh", "-c", `for i in $(seq 30); do printf "step $i\r"; done; echo no space left >&2; exit 3`)
	err := run(discard, cmd, func(line string) { seen = append(seen, line) })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(err.Error(), "step 30\nno space left") {
		t.Errorf("run = %v; want the exit status and the last words", err)
	}
	if strings.Contains(err.Error(), "step 2\n") {
		t.Errorf("run = %v; want no more than the last %d lines", err, lastWords)
	}
	if len(seen) != 31 || seen[0] != "step 1" {
		t.Errorf("lines = %q; want all 31", seen)
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := run(discard, exec.CommandContext(ctx, "sh", "-c", "echo up; exec sleep 1000"), func(string) { cancel() })
	if err == nil || ctx.Err() == nil {
		t.Errorf("run = %v; want it stopped", err)
	}
}
