package state

import (
	"os"
	"path/filepath"
	"sync"
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
