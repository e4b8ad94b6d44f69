// Package state knows what lies where in the state folder of a boot server, and
// makes its signing key on first use.
//
// The commands of cmd/swarmboot, which share one folder between them, are its
// callers; settings names it as the default.
package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/envelope"
)

// Default is the state folder of a server that is told no other.
const Default = "/var/lib/swarmboot"

// Folder is the path of a state folder.
type Folder string

// Socket is where the running server answers package control.
func (f Folder) Socket() string { return filepath.Join(string(f), "control.sock") }

func (f Folder) imageDir() string   { return filepath.Join(string(f), "images") }
func (f Folder) privateKey() string { return filepath.Join(string(f), "keys", "swarmboot.key") }
func (f Folder) publicKey() string  { return filepath.Join(string(f), "keys", "swarmboot.pub") }

// Images lists the images in the folder as Catalogue.List does, without making
// a folder that is not there.
func (f Folder) Images() (list []*catalogue.Image, err error) {
	err = f.ifThere(func(c *catalogue.Catalogue) (err error) {
		list, err = c.List()
		return err
	})
	return list, err
}

// Tags are the tags of the images, likewise.
func (f Folder) Tags() (tags map[images.Ref]*catalogue.Image, err error) {
	err = f.ifThere(func(c *catalogue.Catalogue) (err error) {
		tags, err = c.Tags()
		return err
	})
	return tags, err
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

// Catalogue opens the images that the folder's own key has signed. Before the
// first key there are none.
func (f Folder) Catalogue() (*catalogue.Catalogue, error) {
	var trusted []envelope.PublicKey
	data, err := os.ReadFile(f.publicKey())
	if err == nil {
		key, err := envelope.ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.publicKey(), err)
		}
		trusted = append(trusted, key)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the key that images are checked with: %w", err)
	}
	return catalogue.Open(f.imageDir(), trusted)
}

// Key reads the key that signs images and boot descriptions, and makes it
// where there is none. Of several commands that make it at the same moment, one
// wins and the others read its key.
func (f Folder) Key() (envelope.PrivateKey, error) {
	data, err := os.ReadFile(f.privateKey())
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.makeKey(); err != nil {
			return envelope.PrivateKey{}, fmt.Errorf("make the signing key %s: %w", f.privateKey(), err)
		}
		data, err = os.ReadFile(f.privateKey())
	}
	if err != nil {
		return envelope.PrivateKey{}, fmt.Errorf("read the signing key: %w", err)
	}
	key, err := envelope.ParsePrivateKey(data)
	if err != nil {
		return envelope.PrivateKey{}, fmt.Errorf("%s: %w", f.privateKey(), err)
	}
	return key, f.publish(key.Public())
}

func (f Folder) makeKey() error {
	key, err := envelope.NewKey()
	if err != nil {
		return err
	}
	data, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	temp, err := f.write(data)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	// Unlike a rename, a link never replaces the key of another command.
	if err := os.Link(temp, f.privateKey()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// publish writes the public half beside the private one, unless it is there.
func (f Folder) publish(key envelope.PublicKey) error {
	want, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(f.publicKey()); err == nil && bytes.Equal(have, want) {
		return nil
	}
	temp, err := f.write(want)
	if err == nil {
		err = os.Rename(temp, f.publicKey())
	}
	if err != nil {
		return fmt.Errorf("write the public key %s: %w", f.publicKey(), err)
	}
	return nil
}

// write puts data into a new file, readable by its owner alone, in the folder
// of the keys.
func (f Folder) write(data []byte) (name string, err error) {
	dir := filepath.Dir(f.privateKey())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, ".key-*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}
