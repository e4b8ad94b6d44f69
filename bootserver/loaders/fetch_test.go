package loaders

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pin makes files the pinned ones for the length of a test.
func pin(t *testing.T, files ...File) {
	t.Helper()
	was := Files
	Files = files
	t.Cleanup(func() { Files = was })
}

const (
	sumOfOne = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" // of "one"
	sumOfTwo = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3" // of "two"
)

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFetchFromAFolder(t *testing.T) {
	pin(t, File{Name: "one.efi", SHA256: sumOfOne}, File{Name: "two.efi", SHA256: sumOfTwo})
	from, dir := t.TempDir(), filepath.Join(t.TempDir(), "loaders")
	write(t, from, "one.efi", "one")
	write(t, from, "two.efi", "two")
	if err := Verify(dir); !errors.Is(err, ErrMissing) {
		t.Errorf("Verify before = %v; want ErrMissing", err)
	}
	if err := Fetch(t.Context(), dir, from, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir); err != nil {
		t.Error(err)
	}
	write(t, dir, "two.efi", "rotten")
	if err := Verify(dir); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), "two.efi") {
		t.Errorf("Verify of a changed file = %v; want ErrOther and its name", err)
	}
	if err := Fetch(t.Context(), dir, from, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir); err != nil {
		t.Error(err)
	}
}

// Of a folder with one wrong file nothing is taken.
func TestFetchTakesAllOrNothing(t *testing.T) {
	pin(t, File{Name: "one.efi", SHA256: sumOfOne}, File{Name: "two.efi", SHA256: sumOfTwo, Package: "two", Arch: "amd64"})
	from, dir := t.TempDir(), t.TempDir()
	write(t, from, "one.efi", "one")
	write(t, from, "two.efi", "tampered with")
	if err := Fetch(t.Context(), dir, from, io.Discard); err == nil || !strings.Contains(err.Error(), "two.efi") {
		t.Errorf("Fetch = %v; want an error that names two.efi", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("the folder holds %v; want nothing", left)
	}
}

func TestMirrorIsDebianProper(t *testing.T) {
	list := "https://packages.example.org/apt/\nhttp://deb.debian.org/debian-security/\nhttp://deb.debian.org/debian/\n"
	if got := string(aMirror.Find([]byte(list))); got != "http://deb.debian.org/debian/" {
		t.Errorf("mirror = %q", got)
	}
}
