// Package profiles learns from the boots of machines which pieces of an image a
// boot reads, and in which order: later machines fetch these first.
//
// bootserver.Server is its only caller.
package profiles

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
	"swarmboot/initramfs/wholefile"
)

// Store keeps, for each image, what the boots of all machines have read, merged.
type Store struct {
	dir     string
	key     envelope.Signer
	trusted func() []envelope.PublicKey

	mu    sync.Mutex
	known map[string]profile // guarded by mu; by the image's digest
}

// A profile is the file of one image, in an envelope: whoever changes it could
// slow down every boot.
type profile struct {
	Version int     `json:"version"`
	Image   string  `json:"image"`
	Boots   int     `json:"boots"` // that it was merged from
	Reads   []reads `json:"reads"` // by piece
}

// reads tells when boots have first read a piece.
type reads struct {
	Piece int     `json:"piece"`
	Boots int     `json:"boots"` // that have read it
	Mean  float64 `json:"ms"`    // of their first reads, milliseconds since the root was mounted
}

const (
	profileVersion = 1

	// seldom is the share of boots below which a piece is left out: one machine
	// in four has it in common.
	seldom = 0.25

	// maxBoots is when a profile forgets half of what it knows, so that it
	// follows a fleet that changes.
	maxBoots = 64
)

// merge adds the read log of one boot of an image with count pieces.
func (p profile) merge(touched []stage.Touch, count int) profile {
	all := map[int]reads{}
	for _, r := range p.Reads {
		all[r.Piece] = r
	}
	p.Boots++
	seen := map[int]bool{}
	for _, touch := range touched {
		if touch.Piece < 0 || touch.Piece >= count || seen[touch.Piece] {
			continue
		}
		seen[touch.Piece] = true
		r := all[touch.Piece]
		r.Piece = touch.Piece
		r.Boots++
		r.Mean += (float64(touch.Millis) - r.Mean) / float64(r.Boots)
		all[touch.Piece] = r
	}
	halve := p.Boots >= maxBoots
	if halve {
		p.Boots /= 2
	}
	p.Reads = nil
	for _, r := range all {
		if halve {
			r.Boots /= 2
		}
		if r.Boots > 0 {
			p.Reads = append(p.Reads, r)
		}
	}
	slices.SortFunc(p.Reads, func(a, b reads) int { return a.Piece - b.Piece })
	return p
}

// order is the pieces that boots read, the earliest first.
func (p profile) order() (pieces []int) {
	byTime := slices.DeleteFunc(slices.Clone(p.Reads), func(r reads) bool { return float64(r.Boots) < seldom*float64(p.Boots) })
	slices.SortStableFunc(byTime, func(a, b reads) int { return cmp.Compare(a.Mean, b.Mean) })
	for _, r := range byTime {
		pieces = append(pieces, r.Piece)
	}
	return pieces
}

// Open reads the profiles in dir that a trusted key has signed; those that it makes
// are signed by key.
func Open(dir string, key envelope.Signer, trusted func() []envelope.PublicKey) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	return &Store{dir: dir, key: key, trusted: trusted, known: map[string]profile{}}, nil
}

func (p *Store) path(digest string) string { return filepath.Join(p.dir, digest+".json") }

// Get is the order in which boots read an image with count pieces. Without a
// recorded boot it is what mounting a squashfs reads: the superblock, and the
// tables at its end. So it is if the record cannot be read or trusted, and then
// the error tells why.
func (p *Store) Get(digest string, count int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	recorded, err := p.recorded(digest)
	if pieces := within(recorded.order(), count); len(pieces) > 0 {
		return pieces, nil
	}
	const tables = 8
	pieces := []int{0}
	for piece := max(1, count-tables); piece < count; piece++ {
		pieces = append(pieces, piece)
	}
	return pieces, err
}

// Order is the pieces that boots of an image read; none where none was recorded.
func (p *Store) Order(digest string) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	recorded, _ := p.recorded(digest)
	return recorded.order()
}

// recorded needs mu. It is zero if nothing has been recorded yet.
func (p *Store) recorded(digest string) (profile, error) {
	if known, ok := p.known[digest]; ok {
		return known, nil
	}
	data, err := os.ReadFile(p.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return profile{}, nil
	}
	if err != nil {
		return profile{}, fmt.Errorf("profile: %w", err)
	}
	read, err := openProfile(p.trusted(), data)
	if err != nil {
		return profile{}, fmt.Errorf("%s is not used; the next boot records it anew: %w", p.path(digest), err)
	}
	p.known[digest] = read
	return read, nil
}

func openProfile(trusted []envelope.PublicKey, data []byte) (p profile, err error) {
	payload, err := envelope.Open(trusted, envelope.ProfileType, data)
	if err != nil {
		return profile{}, err
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return profile{}, err
	}
	if p.Version != profileVersion {
		return profile{}, fmt.Errorf("profile of version %d; this program reads %d", p.Version, profileVersion)
	}
	return p, nil
}

// Record merges the read log of a boot into the profile of its image, and tells
// from how many boots that now is.
func (p *Store) Record(digest, image string, count int, touched []stage.Touch) (boots int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, _ := p.recorded(digest) // one that cannot be read is replaced
	merged := before.merge(touched, count)
	merged.Version, merged.Image = profileVersion, image
	if len(merged.Reads) == 0 {
		return 0, nil
	}
	p.known[digest] = merged
	// A hall of machines is ready at once, and each further boot tells less. So
	// the file is written after 1, 2, 4, 8 boots and so on.
	if merged.Boots&(merged.Boots-1) != 0 {
		return merged.Boots, nil
	}
	payload, err := json.Marshal(merged)
	if err != nil {
		return 0, fmt.Errorf("profile of %s: %w", image, err)
	}
	data, err := envelope.Sign(p.key, envelope.ProfileType, payload)
	if err == nil {
		err = wholefile.Write(p.path(digest), data, 0o644)
	}
	if err != nil {
		return 0, fmt.Errorf("profile of %s: %w", image, err)
	}
	return merged.Boots, nil
}

// RecordFiles keeps which files a traced boot of an image has opened: one in
// each line, in the order of opening.
func (p *Store) RecordFiles(digest string, files []string) error {
	var text strings.Builder
	for _, name := range files {
		if !strings.Contains(name, "\n") {
			text.WriteString(name + "\n")
		}
	}
	return wholefile.Write(filepath.Join(p.dir, digest+".files"), []byte(text.String()), 0o644)
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
