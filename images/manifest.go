package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"swarmboot/initramfs/envelope"
)

// Format is the version of the manifest that this code reads and writes.
const Format = 1

// A Part is one file of an image.
type Part struct {
	SHA256 string `json:"sha256"` // of the whole file, 64 hex digits
	Size   int64  `json:"size"`   // bytes
}

// A Manifest says what an image consists of. Its digest (the SHA-256 of its
// JSON) is the image's address in the catalogue; its signature is what machines
// trust, because the hashes of a v1 torrent are only SHA-1.
type Manifest struct {
	Format        int    `json:"format"`
	Name          string `json:"name"`
	Version       string `json:"version"`
	Arch          string `json:"arch"`           // GOARCH: amd64 or arm64
	KernelRelease string `json:"kernel_release"` // uname -r of Kernel
	Filesystem    string `json:"filesystem"`     // of Root: squashfs
	Kernel        Part   `json:"kernel"`         // bzImage, as the distribution signed it
	Modules       Part   `json:"modules"`        // compressed cpio that follows the common initramfs
	Root          Part   `json:"root"`           // the file system image
	Torrent       Part   `json:"torrent"`        // metainfo file (BEP 3) of Root
	Pieces        Pieces `json:"pieces"`         // of Root
}

// Ref is the name of the image.
func (m Manifest) Ref() Ref { return Ref{m.Name, m.Version} }

// Seal encodes and signs m. It also returns the digest of the manifest.
func (m Manifest) Seal(key envelope.Signer) (data []byte, digest string, err error) {
	if err := m.Validate(); err != nil {
		return nil, "", err
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, "", fmt.Errorf("manifest of %s: %w", m.Ref(), err)
	}
	data, err = envelope.Sign(key, envelope.ManifestType, payload)
	if err != nil {
		return nil, "", fmt.Errorf("manifest of %s: %w", m.Ref(), err)
	}
	return data, Digest(payload), nil
}

// OpenManifest verifies an envelope and decodes the manifest in it. It returns
// the manifest's digest too.
func OpenManifest(trusted []envelope.PublicKey, data []byte) (m Manifest, digest string, err error) {
	payload, err := envelope.Open(trusted, envelope.ManifestType, data)
	if err != nil {
		return Manifest{}, "", fmt.Errorf("manifest: %w", err)
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return Manifest{}, "", fmt.Errorf("manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, "", err
	}
	return m, Digest(payload), nil
}

// Validate tells what in m nothing can work with.
func (m Manifest) Validate() error {
	if m.Format != Format {
		return fmt.Errorf("manifest: format %d; this version reads %d", m.Format, Format)
	}
	if _, err := ParseRef(m.Ref().String()); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	for _, part := range []struct {
		name string
		Part
	}{{"kernel", m.Kernel}, {"modules", m.Modules}, {"root", m.Root}, {"torrent", m.Torrent}} {
		if sum, err := hex.DecodeString(part.SHA256); err != nil || len(sum) != sha256.Size || part.Size <= 0 {
			return fmt.Errorf("manifest of %s: %s has no proper size and SHA-256", m.Ref(), part.name)
		}
	}
	if m.Pieces.Size != m.Root.Size {
		return fmt.Errorf("manifest of %s: pieces cover %d bytes, root has %d", m.Ref(), m.Pieces.Size, m.Root.Size)
	}
	if err := m.Pieces.validate(); err != nil {
		return fmt.Errorf("manifest of %s: %w", m.Ref(), err)
	}
	return nil
}

// Digest is the lower-case hexadecimal SHA-256 of data.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// DigestPart reads r to its end and returns its size and SHA-256.
func DigestPart(r io.Reader) (Part, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Part{}, err
	}
	return Part{SHA256: hex.EncodeToString(h.Sum(nil)), Size: n}, nil
}

// Verify reads r to its end and compares it with p.
func (p Part) Verify(r io.Reader) error {
	got, err := DigestPart(r)
	if err != nil {
		return err
	}
	if got != p {
		return fmt.Errorf("%d bytes with SHA-256 %s; the manifest says %d bytes with %s", got.Size, got.SHA256, p.Size, p.SHA256)
	}
	return nil
}
