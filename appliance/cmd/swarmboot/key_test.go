package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestKeysOfTwo is the story of images that one computer builds and another
// serves, and of a key that is replaced.
func TestKeysOfTwo(t *testing.T) {
	server, builder := t.TempDir(), t.TempDir()
	addImage(t, builder, "lab@1")
	file := filepath.Join(t.TempDir(), "lab.tar")
	run := func(folder, args, want string) string {
		t.Helper()
		out, failure := swarmboot(t, append(strings.Fields(args), "--state", folder)...)
		want, fails := strings.CutPrefix(want, "!")
		if fails && !strings.Contains(failure, want) || !fails && (failure != "" || !strings.Contains(out, want)) {
			t.Errorf("%s printed %q and failed with %q; want %q", args, out, failure, want)
		}
		return strings.TrimSpace(out)
	}
	run(builder, "image export lab@1 "+file, "")
	run(server, "key new", "")
	run(server, "key new", "!--replace")
	run(server, "image import "+file, "!key trust")
	run(server, "key trust "+file, "!no file in PEM")
	id := run(server, "key trust "+filepath.Join(builder, "keys", "swarmboot.pub"), "")
	run(server, "image import "+file, "lab@1")
	run(server, "key list", id+"  trusted")
	run(server, "key list -o json", `{"id":"`+id+`","signs":false,`)
	run(server, "key distrust "+id, "")
	run(server, "image list", "!not signed by a trusted key")
	run(server, "key distrust "+id, "!no key "+id)

	old := strings.Fields(run(builder, "key list", "signs"))[3]
	run(builder, "key distrust "+old, "!signs here")
	if next := run(builder, "key new --replace", ""); next == old {
		t.Errorf("the new key has the ID of the old one, %s", old)
	}
	run(builder, "image list", "lab@1")
	addImage(t, builder, "lab@2")
	run(builder, "key distrust "+old, "")
	run(builder, "image verify lab@2", "lab@2: ok")
	run(builder, "image verify lab@1", "!not signed by a trusted key")
}
