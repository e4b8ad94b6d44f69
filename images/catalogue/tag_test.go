package catalogue

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"swarmboot/images"
	"swarmboot/initramfs/envelope"
)

func ref(t testing.TB, s string) images.Ref {
	t.Helper()
	r, err := images.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTagMoves(t *testing.T) {
	c, key := open(t)
	add(t, c, key, "1")
	add(t, c, key, "2")
	stable := ref(t, "lab@stable")
	for _, step := range []struct{ to, before string }{{"lab@1", ""}, {"lab@2", "lab@1"}, {"lab@stable", "lab@2"}, {"lab@1", "lab@2"}} {
		before, err := c.Tag(t.Context(), stable, ref(t, step.to))
		if err != nil || !before.IsZero() && before.String() != step.before || before.IsZero() != (step.before == "") {
			t.Errorf("Tag to %s = %v, %v; want %q before", step.to, before, err, step.before)
		}
	}
	got, err := c.Get(stable)
	if err != nil || got.Manifest.Version != "1" {
		t.Errorf("Get(%s) = %v, %v; want lab@1", stable, got, err)
	}
	tags, err := c.Tags()
	if err != nil || len(tags) != 1 || tags[stable].Manifest.Version != "1" {
		t.Errorf("Tags() = %v, %v", tags, err)
	}
	if list, err := c.List(); err != nil || len(list) != 2 {
		t.Errorf("List() = %v, %v; want images, not tags", list, err)
	}
	if err := c.Untag(t.Context(), stable); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(stable); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get after Untag = %v; want ErrNotFound", err)
	}
	if err := c.Untag(t.Context(), stable); err == nil {
		t.Error("second Untag succeeded")
	}
}

func TestTagIsRefused(t *testing.T) {
	c, key := open(t)
	add(t, c, key, "1")
	add(t, c, key, "2")
	for name, to := range map[string]string{"lab@1": "lab@2", "other@stable": "lab@1", "lab@stable": "lab@9"} {
		if _, err := c.Tag(t.Context(), ref(t, name), ref(t, to)); err == nil {
			t.Errorf("Tag(%s, %s) succeeded", name, to)
		}
	}
	if _, err := c.Tag(t.Context(), ref(t, "lab@3"), ref(t, "lab@1")); err != nil {
		t.Fatal(err)
	}
	m, files := newImage(t, "3")
	if _, err := c.Add(t.Context(), key, m, files); err == nil || !strings.Contains(err.Error(), "is a tag") {
		t.Errorf("Add under the name of a tag = %v; want it refused", err)
	}
}

func TestRemoveAndCollect(t *testing.T) {
	c, key := open(t)
	for _, version := range []string{"1", "2", "3"} {
		add(t, c, key, version)
	}
	if _, err := c.Tag(t.Context(), ref(t, "lab@stable"), ref(t, "lab@1")); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(t.Context(), ref(t, "lab@1")); !errors.Is(err, ErrTagged) || !strings.Contains(err.Error(), "lab@stable") {
		t.Errorf("Remove of a tagged image = %v; want ErrTagged and the tag", err)
	}
	if err := c.Remove(t.Context(), ref(t, "lab@stable")); err == nil || !strings.Contains(err.Error(), "untag") {
		t.Errorf("Remove of a tag = %v; want what to do", err)
	}
	if err := c.Remove(t.Context(), ref(t, "lab@9")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove of nothing = %v; want ErrNotFound", err)
	}
	if err := c.Remove(t.Context(), ref(t, "lab@2")); err != nil {
		t.Fatal(err)
	}
	freed, err := c.Collect(t.Context())
	if want := int64(len("modules 2")); err != nil || freed <= want { // and its manifest
		t.Errorf("Collect = %d, %v; want more than %d bytes", freed, err, want)
	}
	// The parts that the others share are there: 3 and 2 modules, 2 manifests, 2 refs, 1 tag.
	if all := files(t, c); len(all) != 10 {
		t.Errorf("after Collect the catalogue holds %v; want 10 files", all)
	}
	list, err := c.List()
	if err != nil || len(list) != 2 {
		t.Fatalf("List() = %v, %v; want two images", list, err)
	}
	for _, image := range list {
		if err := image.Verify(Root); err != nil {
			t.Error(err)
		}
	}
}

// What cannot be read may need any blob.
func TestCollectTakesNothingItDoesNotUnderstand(t *testing.T) {
	c, key := open(t)
	damaged := add(t, c, key, "1")
	add(t, c, key, "2")
	if err := c.Remove(t.Context(), ref(t, "lab@2")); err != nil {
		t.Fatal(err)
	}
	os.Remove(c.manifest(damaged.Digest))
	before := files(t, c)
	if _, err := c.Collect(t.Context()); err == nil || !strings.Contains(err.Error(), "lab@1") {
		t.Errorf("Collect of a damaged catalogue = %v; want the image named", err)
	}
	if after := files(t, c); len(after) != len(before) {
		t.Errorf("%d files were removed", len(before)-len(after))
	}
}

func TestExportImport(t *testing.T) {
	c, key := open(t)
	image := add(t, c, key, "1")
	var archive bytes.Buffer
	if err := image.Export(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.TempDir(), []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there already
		got, err := other.Import(t.Context(), bytes.NewReader(archive.Bytes()))
		if err != nil || got.Digest != image.Digest {
			t.Fatalf("Import = %v, %v; want digest %s", got, err, image.Digest)
		}
	}
	got, err := other.Get(ref(t, "lab@1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range Parts {
		if err := got.Verify(part); err != nil {
			t.Error(err)
		}
	}

	stranger, _ := open(t)
	if _, err := stranger.Import(t.Context(), bytes.NewReader(archive.Bytes())); !errors.Is(err, envelope.ErrNotTrusted) || !strings.Contains(err.Error(), "key trust") {
		t.Errorf("Import without the key = %v; want ErrNotTrusted and what to do", err)
	}
	empty, err := Open(t.TempDir(), []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(archive.Bytes(), []byte("modules 1"), []byte("modules 7"), 1)
	for want, data := range map[string][]byte{
		"modules has 9 bytes": changed,
		"root":                archive.Bytes()[:archive.Len()/2],
		"no exported image":   []byte("nonsense"),
	} {
		if _, err := empty.Import(t.Context(), bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Import = %v; want %q", err, want)
		}
	}
	if left := files(t, empty); len(left) != 0 {
		t.Errorf("refused imports left %v", left)
	}
}

func FuzzImport(f *testing.F) {
	c, key := open(f)
	var archive bytes.Buffer
	if err := add(f, c, key, "1").Export(f.Context(), &archive); err != nil {
		f.Fatal(err)
	}
	f.Add(archive.Bytes())
	f.Add(archive.Bytes()[:1500])
	f.Fuzz(func(t *testing.T, data []byte) {
		to, err := Open(t.TempDir(), []envelope.PublicKey{key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		if image, err := to.Import(t.Context(), bytes.NewReader(data)); err == nil && image.Manifest.Ref().String() != "lab@1" {
			t.Errorf("Import took %s, which nobody signed", image.Manifest.Ref())
		}
	})
}

func TestVerifyAll(t *testing.T) {
	c, key := open(t)
	image := add(t, c, key, "1")
	// The torrent of these tests is none.
	if err := image.VerifyAll(t.Context()); err == nil || !strings.Contains(err.Error(), "torrent") || strings.Contains(err.Error(), "verify root") {
		t.Errorf("VerifyAll = %v; want the torrent refused and the root right", err)
	}
	path := image.Path(Root)
	os.Chmod(path, 0o600)
	data := bytes.Clone(root)
	data[17] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := image.VerifyAll(t.Context()); err == nil || !strings.Contains(err.Error(), "verify root") {
		t.Errorf("VerifyAll of a changed root = %v; want it refused", err)
	}
}
