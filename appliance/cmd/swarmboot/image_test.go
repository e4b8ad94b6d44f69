package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/appliance/internal/state"
	"swarmboot/images"
	"swarmboot/images/catalogue/cataloguetest"
)

// addImage puts an image that no machine could boot into a state folder.
func addImage(t *testing.T, folder, name string) {
	t.Helper()
	key, err := state.Folder(folder).Key()
	if err != nil {
		t.Fatal(err)
	}
	c, err := state.Folder(folder).Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	cataloguetest.Add(t, c, key, name, bytes.Repeat([]byte(name), 30_000))
}

func TestImageDiff(t *testing.T) {
	side := func(version, kernel string, root int64) imageSide {
		return imageSide{images.Ref{Name: "lab", Version: version}, kernel, kernel, root}
	}
	d := imageDiff{Old: side("1", "6.1", 3<<20), New: side("2", "6.12", 4<<20), Missing: 1 << 20, Changes: []fileChange{
		{"etc/motd", "changed", "size 3, was 2"}, {"etc/new", "added", ""}, {"etc/old", "removed", ""}}}
	var text, asJSON bytes.Buffer
	d.print(&text)
	if want := `kernel 6.12, was 6.1
root 4.0 MiB, was 3.0 MiB; a machine with the old one in its cache fetches 1.0 MiB (25%)
~ etc/motd: size 3, was 2
+ etc/new
- etc/old
`; text.String() != want {
		t.Errorf("image diff prints\n%s; want\n%s", text.String(), want)
	}
	if err := encode(&asJSON, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"old":{"image":"lab@1",`, `"missing_bytes":1048576`, `{"path":"etc/new","kind":"added"}`} {
		if !strings.Contains(asJSON.String(), want) {
			t.Errorf("image diff -o json prints %s; want %s in it", asJSON.String(), want)
		}
	}
}

// TestImagesOverTheirLives is the story of an admin who rolls forward and back,
// and then clears up.
func TestImagesOverTheirLives(t *testing.T) {
	folder := t.TempDir()
	for _, version := range []string{"1", "2", "3", "4"} {
		addImage(t, folder, "lab@"+version)
	}
	_, stop := serveOne(t, folder) // its machine runs lab@1
	elsewhere := t.TempDir()
	if err := os.CopyFS(elsewhere, os.DirFS(filepath.Join(folder, "images"))); err != nil {
		t.Fatal(err)
	}
	store := httptest.NewServer(http.FileServer(http.Dir(elsewhere)))
	defer store.Close()

	killed := filepath.Join(folder, "images.build") // what a build leaves
	if err := os.MkdirAll(filepath.Join(killed, "root"), 0o755); err != nil {
		t.Fatal(err)
	}

	file := filepath.Join(t.TempDir(), "lab.tar")
	for _, step := range []struct {
		args string
		want string // in the output, or in the error if it begins with !
	}{
		{"tag lab@stable lab@2", "lab@stable is lab@2 now\n"},
		{"tag lab@stable lab@3", "lab@stable is lab@3 now, before lab@2"},
		{"tag lab@stable", "!NAME@VERSION"},
		{"list", "lab@3  stable"},
		{"show lab@stable", "lab@3"},
		{"show lab@3 -o json", `"tags":["stable"]`},
		{"verify", "lab@4: ok"},
		{"verify lab@9", "!not in the catalogue"},
		{"rm lab@3", "!lab@stable"},
		{"rm lab@1", "!machine r1-n01"},
		{"export lab@4 " + file, ""},
		{"export lab@4 " + file, "!exists"},
		{"rm lab@4", ""},
		{"import " + file, "lab@4"},
		{"rm lab@4", ""},
		{"pull lab@4", "!--from URL"},
		{"pull lab@4 --from " + store.URL, "lab@4"},
		{"pull lab@9 --from " + store.URL, "!not in the catalogue"},
		{"push lab@4 --to " + store.URL, "!S3 bucket"},
		{"gc", "freed 0 B"},
		{"gc --keep 1", "removed lab@2\nfreed "},
		{"list", "lab@1"},
		{"untag lab@stable", ""},
		{"untag lab@stable", "!no tag lab@stable"},
	} {
		out, failure := swarmboot(t, append(strings.Fields("image "+step.args), "--state", folder)...)
		want, fails := strings.CutPrefix(step.want, "!")
		if fails && !strings.Contains(failure, want) || !fails && (failure != "" || !strings.Contains(out, want)) {
			t.Errorf("image %s printed %q and failed with %q; want %q", step.args, out, failure, step.want)
		}
	}
	if _, err := os.Lstat(killed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gc has left what a build has left: %v", err)
	}
	stop()
	if out, failure := swarmboot(t, "audit", "-o", "json", "--state", folder); strings.Count(out, `"msg":"tag moved"`) != 2 || !strings.Contains(out, `"tag":"lab@stable","image":"lab@3","before":"lab@2"`) {
		t.Errorf("audit printed %q, %q; want both moves of the tag", out, failure)
	}
	if out, failure := swarmboot(t, "audit", "--state", folder); !strings.Contains(out, "tag moved tag=lab@stable image=lab@3 before=lab@2") {
		t.Errorf("audit printed %q, %q; want a line for each change", out, failure)
	}
	if _, failure := swarmboot(t, "image", "rm", "lab@3", "--state", folder); !strings.Contains(failure, "--offline") {
		t.Errorf("image rm without a server failed with %q; want --offline named", failure)
	}
	if _, failure := swarmboot(t, "image", "rm", "lab@3", "--offline", "--state", folder); failure != "" {
		t.Errorf("image rm --offline failed with %q", failure)
	}
}
