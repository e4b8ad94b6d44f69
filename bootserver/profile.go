package bootserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"swarmboot/initramfs/stage"
)

// profiles keeps, for each image, which pieces a boot reads and in which order:
// the read log of the first machine that has reached its login. Later machines
// fetch these pieces first.
type profiles struct {
	dir string

	mu    sync.Mutex
	known map[string][]int // guarded by mu; by the image's digest
}

// profile is the file of one image.
type profile struct {
	Image  string `json:"image"`
	Pieces []int  `json:"pieces"` // in the order of their first reads
}

func openProfiles(dir string) (*profiles, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	return &profiles{dir: dir, known: map[string][]int{}}, nil
}

func (p *profiles) path(digest string) string { return filepath.Join(p.dir, digest+".json") }

// get is the profile of an image with count pieces. Without a recorded one it is
// what mounting a squashfs reads: the superblock, and the tables at its end.
func (p *profiles) get(digest string, count int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	recorded, err := p.recorded(digest)
	if err != nil {
		return nil, err
	}
	if pieces := within(recorded, count); len(pieces) > 0 {
		return pieces, nil
	}
	const tables = 8
	pieces := []int{0}
	for piece := max(1, count-tables); piece < count; piece++ {
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// hot counts the pieces of a recorded profile; 0 where there is none.
func (p *profiles) hot(digest string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	pieces, _ := p.recorded(digest)
	return len(pieces)
}

// recorded needs mu. It is nil if nothing has been recorded yet.
func (p *profiles) recorded(digest string) ([]int, error) {
	if pieces, ok := p.known[digest]; ok {
		return pieces, nil
	}
	data, err := os.ReadFile(p.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	var file profile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("profile %s (remove it, and the next boot records it anew): %w", p.path(digest), err)
	}
	p.known[digest] = file.Pieces
	return file.Pieces, nil
}

// record keeps the read log of an image unless there is one. It tells whether
// it was kept.
func (p *profiles) record(digest, image string, count int, touched []stage.Touch) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, err := p.recorded(digest); err == nil && len(before) > 0 {
		return false, nil
	}
	touched = slices.Clone(touched)
	slices.SortStableFunc(touched, func(a, b stage.Touch) int { return int(a.Millis - b.Millis) })
	pieces := make([]int, len(touched))
	for i, touch := range touched {
		pieces[i] = touch.Piece
	}
	if pieces = within(pieces, count); len(pieces) == 0 {
		return false, nil
	}
	data, err := json.Marshal(profile{image, pieces})
	if err != nil {
		return false, fmt.Errorf("profile of %s: %w", image, err)
	}
	if err := writeFile(p.path(digest), data); err != nil {
		return false, fmt.Errorf("profile of %s: %w", image, err)
	}
	p.known[digest] = pieces
	return true, nil
}

// within leaves out what is no piece of the image, and repetitions.
func within(pieces []int, count int) []int {
	seen := make([]bool, count)
	var kept []int
	for _, piece := range pieces {
		if piece >= 0 && piece < count && !seen[piece] {
			seen[piece] = true
			kept = append(kept, piece)
		}
	}
	return kept
}

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
