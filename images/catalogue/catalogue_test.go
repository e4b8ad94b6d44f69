package catalogue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"swarmboot/images"
	"swarmboot/initramfs/envelope"
)

var root = bytes.Repeat([]byte("root"), images.MinPieceLength/2)

// newImage writes the files of an image and a manifest that lacks only what Add
// fills in.
func newImage(t testing.TB, version string) (images.Manifest, map[Part]string) {
	t.Helper()
	m := images.Manifest{Format: images.Format, Name: "lab", Version: version, Arch: "amd64", Filesystem: "squashfs"}
	m.Pieces = images.Pieces{Size: int64(len(root)), Length: images.MinPieceLength}
	for i := range m.Pieces.Count() {
		sum := sha256.Sum256(root[m.Pieces.Offset(i):][:m.Pieces.Len(i)])
		m.Pieces.SHA256 = append(m.Pieces.SHA256, sum[:]...)
	}
	files := make(map[Part]string)
	dir := t.TempDir()
	for part, data := range map[Part][]byte{Kernel: []byte("kernel"), Modules: []byte("modules " + version), Root: root, Torrent: []byte("torrent")} {
		files[part] = filepath.Join(dir, string(part))
		if err := os.WriteFile(files[part], data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m, files
}

func open(t testing.TB) (*Catalogue, envelope.PrivateKey) {
	t.Helper()
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.TempDir(), []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func add(t testing.TB, c *Catalogue, key envelope.PrivateKey, version string) *Image {
	t.Helper()
	m, files := newImage(t, version)
	i, err := c.Add(t.Context(), key, m, files)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// files lists everything in the catalogue but its lock.
func files(t testing.TB, c *Catalogue) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(c.Dir()), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && name != "lock" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAddGetList(t *testing.T) {
	c, key := open(t)
	if list, err := c.List(); err != nil || len(list) != 0 {
		t.Errorf("List() of an empty catalogue = %v, %v", list, err)
	}
	added := add(t, c, key, "1")
	add(t, c, key, "2")

	got, err := c.Get(images.Ref{Name: "lab", Version: "1"})
	if err != nil || got.Digest != added.Digest || !bytes.Equal(got.Envelope, added.Envelope) {
		t.Fatalf("Get = %+v, %v; want what Add returned", got, err)
	}
	for _, part := range Parts {
		if err := got.Verify(part); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(got.Path(part)); err != nil || info.Mode() != 0o444 {
			t.Errorf("%s: %v, %v; want a read-only file", part, info.Mode(), err)
		}
	}
	data, err := os.ReadFile(got.Path(Root))
	if err != nil || !bytes.Equal(data, root) {
		t.Errorf("Root = %d bytes, %v; want the file given to Add", len(data), err)
	}
	list, err := c.List()
	if err != nil || len(list) != 2 || list[0].Manifest.Version != "1" || list[1].Manifest.Version != "2" {
		t.Errorf("List() = %v, %v; want lab@1, lab@2", list, err)
	}
	// Three blobs are shared by both images: 5 blobs, 2 manifests, 2 refs.
	if all := files(t, c); len(all) != 9 {
		t.Errorf("catalogue holds %v; want 9 files", all)
	}
}

func TestGetNamesWhatThereIs(t *testing.T) {
	c, key := open(t)
	add(t, c, key, "1")
	_, err := c.Get(images.Ref{Name: "lab", Version: "9"})
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "lab@1") {
		t.Errorf("Get(lab@9) = %v; want ErrNotFound that names lab@1", err)
	}
	if _, err := c.Get(images.Ref{Name: "..", Version: "refs"}); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("Get(..@refs) = %v; want it refused", err)
	}
}

func TestUnknownPart(t *testing.T) {
	c, key := open(t)
	i := add(t, c, key, "1")
	if _, err := i.Open("../lock"); err == nil || i.Path("../lock") != "" || i.Verify("") == nil {
		t.Error("a part that images don't have was opened")
	}
}

func TestAddRefuses(t *testing.T) {
	c, key := open(t)
	add(t, c, key, "1")
	before := files(t, c)
	stranger, _ := envelope.NewKey()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, try := range map[string]func(images.Manifest, map[Part]string) error{
		"a key nobody trusts": func(m images.Manifest, files map[Part]string) error {
			_, err := c.Add(t.Context(), stranger, m, files)
			return err
		},
		"a missing file": func(m images.Manifest, files map[Part]string) error {
			delete(files, Torrent)
			_, err := c.Add(t.Context(), key, m, files)
			return err
		},
		"pieces of another root": func(m images.Manifest, files map[Part]string) error {
			m.Pieces.Size--
			_, err := c.Add(t.Context(), key, m, files)
			return err
		},
		"a name outside the folder": func(m images.Manifest, files map[Part]string) error {
			m.Name = "../lab"
			_, err := c.Add(t.Context(), key, m, files)
			return err
		},
		"a stop": func(m images.Manifest, files map[Part]string) error {
			_, err := c.Add(cancelled, key, m, files)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Add with a done context = %v; want context.Canceled", err)
			}
			return err
		},
	} {
		m, parts := newImage(t, "2")
		if err := try(m, parts); err == nil {
			t.Errorf("%s: Add succeeded; want an error", name)
		}
		if after := files(t, c); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("%s: Add left %v; want %v", name, after, before)
		}
	}
}

func TestOneOfManyAddsWins(t *testing.T) {
	c, key := open(t)
	m, parts := newImage(t, "1")
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for n := range errs {
		wg.Go(func() { // each as another process would: with a catalogue of its own
			other, err := Open(c.Dir(), c.trusted)
			if err == nil {
				_, err = other.Add(t.Context(), key, m, parts)
			}
			errs[n] = err
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrExists) {
			t.Errorf("Add = %v; want ErrExists", err)
		}
	}
	if won != 1 {
		t.Errorf("%d Adds of lab@1 succeeded; want 1", won)
	}
}

func TestTamperedManifest(t *testing.T) {
	c, key := open(t)
	bad := add(t, c, key, "1")
	add(t, c, key, "2")
	path := c.manifest(bad.Digest)
	spoil(t, path, bytes.Replace(bad.Envelope, []byte(`"payload":"e`), []byte(`"payload":"f`), 1))

	if _, err := c.Get(bad.Manifest.Ref()); !errors.Is(err, envelope.ErrNotTrusted) {
		t.Errorf("Get = %v; want ErrNotTrusted", err)
	}
	list, err := c.List()
	if len(list) != 1 || list[0].Manifest.Version != "2" || !errors.Is(err, envelope.ErrNotTrusted) || !strings.Contains(err.Error(), "lab@1") {
		t.Errorf("List() = %v, %v; want lab@2 and an error about lab@1", list, err)
	}
}

func TestRefToAnotherManifest(t *testing.T) {
	c, key := open(t)
	one, two := add(t, c, key, "1"), add(t, c, key, "2")
	spoil(t, c.ref(two.Manifest.Ref()), []byte(one.Digest))
	if i, err := c.Get(two.Manifest.Ref()); err == nil {
		t.Errorf("Get(lab@2) = the manifest of %s; want an error", i.Manifest.Ref())
	}
	spoil(t, c.ref(two.Manifest.Ref()), []byte("nonsense"))
	if _, err := c.Get(two.Manifest.Ref()); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("Get(lab@2) = %v; want an error other than ErrNotFound", err)
	}
}

func TestTamperedBlob(t *testing.T) {
	c, key := open(t)
	i := add(t, c, key, "1")
	if err := i.Verify(Root); err != nil { // so that the answer is remembered
		t.Fatal(err)
	}
	info, err := os.Stat(i.Path(Root))
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, i.Path(Root), append([]byte("evil"), root[4:]...))
	if err := os.Chtimes(i.Path(Root), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := i.Verify(Root); err == nil {
		t.Error("Verify of other bytes with the same size and time succeeded; want an error")
	}
	// The next image with these bytes brings the blob back.
	add(t, c, key, "2")
	if err := i.Verify(Root); err != nil {
		t.Error(err)
	}
}

func spoil(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestKilledAdd kills a process in the middle of Add: it reads the root from a
// pipe that ends nowhere.
func TestKilledAdd(t *testing.T) {
	if dir := os.Getenv("CATALOGUE_TEST_ADD"); dir != "" {
		key, _ := envelope.NewKey()
		c, err := Open(dir, []envelope.PublicKey{key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		m, parts := newImage(t, "1")
		parts[Root] = os.Getenv("CATALOGUE_TEST_PIPE")
		_, err = c.Add(t.Context(), key, m, parts)
		t.Fatalf("Add came back: %v", err)
	}

	c, key := open(t)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestKilledAdd$")
	child.Env = append(os.Environ(), "CATALOGUE_TEST_ADD="+c.Dir(), "CATALOGUE_TEST_PIPE="+pipe, "TMPDIR="+t.TempDir())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for the child to open it
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write(make([]byte, 1<<20)); err != nil { // more than a pipe holds
		t.Fatal(err)
	}
	// Another Add waits for its turn.
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	m, parts := newImage(t, "1")
	if _, err := c.Add(waiting, key, m, parts); !errors.Is(err, context.Canceled) {
		t.Errorf("Add beside another one = %v; want it to wait", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()

	left := strings.Join(files(t, c), " ")
	if !strings.Contains(left, temporary) {
		t.Fatalf("the killed Add left %s; want an unfinished file among it", left)
	}
	if list, err := c.List(); err != nil || len(list) != 0 {
		t.Errorf("List() after a killed Add = %v, %v; want nothing", list, err)
	}
	add(t, c, key, "1")
	if left := strings.Join(files(t, c), " "); strings.Contains(left, temporary) {
		t.Errorf("the next Add left %s", left)
	}
}
