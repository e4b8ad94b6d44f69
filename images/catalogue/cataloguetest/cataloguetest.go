// Package cataloguetest makes small images for tests: no machine could boot one.
package cataloguetest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/envelope"
)

// New is an empty catalogue that trusts a key.
func New(t testing.TB) (*catalogue.Catalogue, envelope.PrivateKey) {
	t.Helper()
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return Open(t, t.TempDir(), key), key
}

// Open opens the catalogue in dir for a test that has its key.
func Open(t testing.TB, dir string, key envelope.PrivateKey) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Open(dir, []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Add adds an image called name@version with that root. Its kernel is the word
// kernel, its modules are the word modules.
func Add(t testing.TB, c *catalogue.Catalogue, key envelope.Signer, name string, root []byte) *catalogue.Image {
	t.Helper()
	ref, err := images.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	pieces, torrent, err := metainfo.Hash(bytes.NewReader(root), "root", int64(len(root)), images.MinPieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, dir := map[catalogue.Part]string{}, t.TempDir()
	for part, data := range map[catalogue.Part][]byte{
		catalogue.Kernel: []byte("kernel"), catalogue.Modules: []byte("modules"), catalogue.Root: root, catalogue.Torrent: torrent,
	} {
		files[part] = filepath.Join(dir, string(part))
		if err := os.WriteFile(files[part], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image, err := c.Add(t.Context(), key, images.Manifest{
		Format: images.Format, Name: ref.Name, Version: ref.Version, Arch: "amd64", KernelRelease: "6.12", Filesystem: "squashfs", Pieces: pieces,
	}, files)
	if err != nil {
		t.Fatal(err)
	}
	return image
}
