package state

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

func TestKeyIsMadeOnceAndKept(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "new"))
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids { // commands that start at the same moment
		wg.Go(func() {
			key, err := f.Key()
			if err != nil {
				t.Errorf("Key() = %v", err)
				return
			}
			ids[i] = key.Public().ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("keys %v; want the same for all", ids)
		}
	}

	for name, mode := range map[string]os.FileMode{f.privateKey(): 0o600, filepath.Dir(f.privateKey()): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode of %s = %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(f.privateKey())); len(left) != 2 {
		t.Errorf("the keys' folder holds %v; want the two halves of the key", left)
	}
}

func TestDamagedKeyIsNotReplaced(t *testing.T) {
	f := Folder(t.TempDir())
	if err := os.Mkdir(filepath.Dir(f.privateKey()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.privateKey(), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Key(); err == nil {
		t.Error("Key() of a damaged file succeeded; want an error")
	}
}

// What a training has learned in a folder of its own comes to where the images
// are; a profile that is there already, of real machines, stays.
func TestLearn(t *testing.T) {
	f, lent := Folder(t.TempDir()), Folder(filepath.Join(t.TempDir(), "lent"))
	if _, err := f.Key(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Catalogue(); err != nil {
		t.Fatal(err)
	}
	if err := f.Lend(lent); err != nil {
		t.Fatal(err)
	}
	own, _ := f.Key()
	if key, err := lent.Key(); err != nil || key.Public().ID() != own.Public().ID() {
		t.Errorf("the key of the folder that was lent to is %v, %v; want the same", key.Public().ID(), err)
	}
	if err := f.Learn(lent, "d1"); err == nil {
		t.Error("Learn without anything learned succeeded")
	}
	for _, round := range []string{"first", "second"} {
		for _, suffix := range []string{".json", ".files"} {
			if err := os.MkdirAll(filepath.Dir(lent.profile("d1", suffix)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(lent.profile("d1", suffix), []byte(round+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Learn(lent, "d1"); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := f.Trace("d1"); err != nil || files[0] != "second" {
		t.Errorf("Trace = %q, %v; want the second", files, err)
	}
	if profile, err := os.ReadFile(f.profile("d1", ".json")); err != nil || string(profile) != "first\n" {
		t.Errorf("profile = %q, %v; want the first", profile, err)
	}
}

// Root's commands leave nothing that the server, another user, cannot read; and
// nobody gets a file of root's by a link to it.
func TestSettle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	f := Folder(filepath.Join(dir, "state"))
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(string(f), "images", "refs"), 0o755); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(string(f), "images", "refs", "x")
	if err := os.WriteFile(inside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(string(f), "symbolic")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(outside, filepath.Join(string(f), "hard")); err != nil {
		t.Fatal(err)
	}
	owner := func(path string) uint32 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	if err := f.Settle(); err != nil || owner(inside) != 0 {
		t.Errorf("Settle in a folder of root's = %v, owner %d; want nothing changed", err, owner(inside))
	}
	if err := os.Chown(string(f), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := f.Settle(); err != nil || owner(inside) != 12345 || owner(outside) != 0 {
		t.Errorf("Settle = %v; the file belongs to %d, one outside to %d; want 12345 and 0", err, owner(inside), owner(outside))
	}
	if err := (f + "-none").Settle(); err != nil {
		t.Errorf("Settle of no folder = %v", err)
	}
}
