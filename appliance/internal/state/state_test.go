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
