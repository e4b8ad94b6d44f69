// Package loaders knows the first programs that machines fetch: which of them
// there are (files.go), which one a machine gets (choose.go), where they come from
// (fetch.go; bios.go for the one that is made of parts), and whose kernels the
// signed ones start (vendor.go).
//
// The loaders are Debian's, pinned by SHA-256; none is part of this repository.
//
// Its callers are bootserver.Server, which hands them out, and the command
// swarmboot loaders.
package loaders

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Errors of Verify.
var (
	ErrMissing = errors.New("is not there")
	ErrOther   = errors.New("is not the pinned one")
)

// Verify compares the files in dir with those that are pinned and names all that
// are missing (ErrMissing) or differ (ErrOther).
func Verify(dir string) error {
	var errs []error
	for _, f := range Files {
		errs = append(errs, f.Verify(dir))
	}
	return errors.Join(errs...)
}

// Verify compares the file of that name in dir with the pinned one.
func (f File) Verify(dir string) error {
	path := filepath.Join(dir, f.Name)
	sum, err := digest(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("loader %s %w", path, ErrMissing)
	case err != nil:
		return fmt.Errorf("loader %w", err)
	case sum != f.SHA256:
		return fmt.Errorf("loader %s %w: its SHA-256 is %s, want %s", path, ErrOther, sum, f.SHA256)
	}
	return nil
}

func digest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
