package tree

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCompare(t *testing.T) {
	old := Tree{
		".": {}, "gone": {}, "same": {Mode: 0o100644, SHA256: "a", Size: 1},
		"text": {Mode: 0o100644, SHA256: "a", Size: 1}, "program": {Mode: 0o100755, Xattrs: map[string]string{"security.capability": "x"}},
	}
	new := Tree{
		".": {}, "new": {}, "same": old["same"],
		"text": {Mode: 0o100600, UID: 5, SHA256: "b", Size: 1}, "program": {Mode: 0o100755, Xattrs: map[string]string{"user.note": ""}},
	}
	want := []Change{
		{"gone", "removed", ""}, {"new", "added", ""},
		{"program", "changed", "without attribute security.capability; with attribute user.note"},
		{"text", "changed", "mode 600, was 644; owner 5, was 0; contents"},
	}
	got := Compare(old, new)
	if len(got) != len(want) {
		t.Fatalf("Compare = %+v; want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("Compare [%d] = %+v; want %+v", i, got[i], want[i])
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "name")), os.Symlink("file", filepath.Join(dir, "link"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f := tree["name"]; len(tree) != 4 || f.Same != "file" || f.Size != 1 || f.Mode != 0o100640 || tree["link"].Target != "file" {
		t.Errorf("Read = %+v", tree)
	}
	if _, err := Read(filepath.Join(dir, "no")); err == nil {
		t.Error("Read of no folder succeeded")
	}
}
