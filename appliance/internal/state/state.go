// Package state knows what lies where in the state folder of a boot server, and
// keeps its keys: the one that signs, made on first use, and those of others
// that are trusted (keys.go).
//
// The commands of cmd/swarmboot, which share one folder between them, are its
// callers; settings names it as the default.
package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/envelope"
)

// Default is the state folder of a server that is told no other.
const Default = "/var/lib/swarmboot"

// Folder is the path of a state folder.
type Folder string

// Tokens is the file of the admins' tokens.
func (f Folder) Tokens() string { return filepath.Join(string(f), "keys", "tokens.json") }

// AdminCertificate is the file of the certificate that the server makes for the
// admin pages, with its key.
func (f Folder) AdminCertificate() string { return filepath.Join(string(f), "keys", "admin.pem") }

// Socket is where the running server answers package control.
func (f Folder) Socket() string { return filepath.Join(string(f), "control.sock") }

func (f Folder) imageDir() string { return filepath.Join(string(f), "images") }

// Images lists the images in the folder as Catalogue.List does, without making
// a folder that is not there.
func (f Folder) Images() (list []*catalogue.Image, err error) {
	err = f.ifThere(func(c *catalogue.Catalogue) (err error) {
		list, err = c.List()
		return err
	})
	return list, err
}

// Image finds one, likewise: catalogue.ErrNotFound.
func (f Folder) Image(ref images.Ref) (image *catalogue.Image, err error) {
	err = f.ifThere(func(c *catalogue.Catalogue) (err error) {
		image, err = c.Get(ref)
		return err
	})
	if err == nil && image == nil {
		err = catalogue.ErrNotFound
	}
	return image, err
}

// Tags are the tags of the images, likewise.
func (f Folder) Tags() (tags map[images.Ref]*catalogue.Image, err error) {
	err = f.ifThere(func(c *catalogue.Catalogue) (err error) {
		tags, err = c.Tags()
		return err
	})
	return tags, err
}

// Trace is which files a traced boot of the image with that digest has opened,
// in its order. The boot server keeps it.
func (f Folder) Trace(digest string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(string(f), "profiles", digest+".files"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no boot of it was traced yet; give one machine that boots it the kernel argument swarmboot.trace")
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

func (f Folder) ifThere(do func(*catalogue.Catalogue) error) error {
	if _, err := os.Stat(f.imageDir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c, err := f.Catalogue()
	if err != nil {
		return err
	}
	return do(c)
}

// Catalogue opens the images that the folder's own key or a trusted one has
// signed. Before the first key there are none.
func (f Folder) Catalogue() (*catalogue.Catalogue, error) {
	keys, err := f.Keys()
	if err != nil {
		return nil, err
	}
	var trusted []envelope.PublicKey
	for _, key := range keys {
		trusted = append(trusted, key.Public)
	}
	return catalogue.Open(f.imageDir(), trusted)
}
