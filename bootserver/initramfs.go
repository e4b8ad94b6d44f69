package bootserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/initramfs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/wholefile"
)

// architectures of machines that can be booted.
var architectures = []string{"amd64", "arm64"}

// trust has machines believe, from their next boot on, what these keys have signed
// besides the server's own, and has images count by their signatures.
func (s *Server) trust(keys []envelope.PublicKey) error {
	site := s.site.Load()
	archives, err := composeInitramfs(site.Initramfs, site.State, append([]envelope.PublicKey{s.key.Public()}, keys...))
	if err != nil {
		return err
	}
	s.archives.Store(&archives)
	s.catalogue.Trust(keys)
	return nil
}

// archive is the initramfs for machines of an architecture; zero: there is none.
func (s *Server) archive(arch string) bootweb.Initramfs { return (*s.archives.Load())[arch] }

// composeInitramfs makes the archives of all architectures whose common one is
// there: that for amd64, which the config names and which must be, and beside it
// one with the name of its architecture before the first dot.
func composeInitramfs(common, state string, trusted []envelope.PublicKey) (map[string]bootweb.Initramfs, error) {
	made := map[string]bootweb.Initramfs{}
	for _, arch := range architectures {
		name, file := filepath.Join(state, "initramfs"), common
		if arch != "amd64" {
			name, file = name+"-"+arch, beside(common, arch)
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		digest, err := compose(file, name, trusted)
		if err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
		made[arch] = bootweb.Initramfs{File: name, Digest: digest}
	}
	return made, nil
}

// beside is dir/initramfs-arm64.cpio.zst for dir/initramfs.cpio.zst.
func beside(common, arch string) string {
	dir, name := filepath.Split(common)
	stem, end, _ := strings.Cut(name, ".")
	return dir + stem + "-" + arch + "." + end
}

// compose appends the keys that machines trust to the common archive,
// writes that to a file in the state folder, so that it can go by sendfile, and
// returns its SHA-256.
func compose(common, name string, trusted []envelope.PublicKey) (digest string, err error) {
	archive, err := os.Open(common)
	if err != nil {
		return "", fmt.Errorf("%w; build it with initramfs/cmd/mkinitramfs", err)
	}
	defer archive.Close()
	info, err := archive.Stat()
	if err != nil {
		return "", err
	}
	keys, err := initramfs.KeySegment(trusted)
	if err != nil {
		return "", err
	}
	// The kernel finds the next archive only at a multiple of Align.
	padding := make([]byte, -info.Size()&(initramfs.Align-1))
	whole := io.MultiReader(archive, bytes.NewReader(padding), bytes.NewReader(keys))
	sum := sha256.New()
	if err := wholefile.Copy(name, io.TeeReader(whole, sum), 0o644); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
