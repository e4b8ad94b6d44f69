package partition

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestFind(t *testing.T) {
	sys := fstest.MapFS{
		"class/block/sda/uevent":       {Data: []byte("DEVNAME=sda\nDEVTYPE=disk\n")},
		"class/block/sda1/uevent":      {Data: []byte("DEVNAME=sda1\nDEVTYPE=partition\nPARTN=1\nPARTNAME=cache\n")},
		"class/block/sda2/uevent":      {Data: []byte("DEVNAME=sda2\nPARTNAME=twice\n")},
		"class/block/nvme0n1p1/uevent": {Data: []byte("DEVNAME=nvme0n1p1\nPARTNAME=twice\n")},
	}
	if device, err := find(sys, "cache"); err != nil || device != "sda1" {
		t.Errorf("find = %q, %v; want sda1", device, err)
	}
	if _, err := find(sys, "cach"); !errors.Is(err, ErrNone) {
		t.Errorf("find of a name that none has = %v", err)
	}
	if device, err := find(sys, "twice"); err == nil {
		t.Errorf("find of a name that two have = %q", device)
	}
}

func TestMustBeEmpty(t *testing.T) {
	for name, c := range map[string]struct {
		size, mark int64 // -1: no mark
		want       error
	}{
		"zeros":               {4 << 20, -1, nil},
		"less than a MiB":     {4096, -1, nil},
		"ext4's magic number": {4 << 20, 1024 + 56, ErrTaken},
		"far behind":          {4 << 20, 2 << 20, nil},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "partition"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(c.size); err != nil {
			t.Fatal(err)
		}
		if c.mark >= 0 {
			if _, err := f.WriteAt([]byte{0x53}, c.mark); err != nil {
				t.Fatal(err)
			}
		}
		if err := MustBeEmpty(f); !errors.Is(err, c.want) {
			t.Errorf("%s: MustBeEmpty = %v; want %v", name, err, c.want)
		}
	}
}
