// Package state knows what lies where in the state folder of a boot server, and
// keeps its keys: the one that signs, made on first use, and those of others
// that are trusted (keys.go).
//
// The commands of cmd/swarmboot, which share one folder between them, are its
// callers; settings names it as the default.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/wholefile"
)

// Default is the state folder of a server that is told no other.
const Default = "/var/lib/swarmboot"

// Folder is the path of a state folder.
type Folder string

// Tokens is the file of the admins' tokens.
func (f Folder) Tokens() string { return filepath.Join(string(f), "keys", "tokens.json") }

// Audit is the file of who changed what (package journal).
func (f Folder) Audit() string { return filepath.Join(string(f), "audit.log") }

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

// profile is what lies there about the boots of the image with that digest: .json
// is their profile, .files the trace of one.
func (f Folder) profile(digest, suffix string) string {
	return filepath.Join(string(f), "profiles", digest+suffix)
}

// Lend makes the folder to, which is not there yet, one with this folder's
// images and keys, and with nothing else of it.
func (f Folder) Lend(to Folder) error {
	from, err := filepath.Abs(string(f))
	if err == nil {
		err = os.MkdirAll(string(to), 0o700)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"images", "keys"} {
		if err := os.Symlink(filepath.Join(from, name), filepath.Join(string(to), name)); err != nil {
			return err
		}
	}
	return nil
}

// Learn takes over what a boot of the image with that digest has told another
// folder: its trace, and its profile if there is none here yet. One that is here
// comes from more boots, on real machines.
func (f Folder) Learn(from Folder, digest string) error {
	for _, suffix := range []string{".json", ".files"} {
		if _, err := os.Stat(f.profile(digest, suffix)); err == nil && suffix == ".json" {
			continue
		}
		data, err := os.ReadFile(from.profile(digest, suffix))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(f.profile(digest, suffix)), 0o755); err != nil {
			return err
		}
		if err := wholefile.Write(f.profile(digest, suffix), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Trace is which files a traced boot of the image with that digest has opened,
// in its order. The boot server keeps it.
func (f Folder) Trace(digest string) ([]string, error) {
	text, err := os.ReadFile(f.profile(digest, ".files"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no boot of it was traced yet; 'swarmboot image train' makes one")
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// Settle gives what root has made in the folder to the owner of the folder, as
// whom a server installed from a package runs. Others than root need not: they
// make files of their own.
func (f Folder) Settle() error {
	if os.Geteuid() != 0 {
		return nil
	}
	top, err := os.Stat(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	owner := top.Sys().(*syscall.Stat_t)
	if owner.Uid == 0 {
		return nil
	}
	// Its owner may put links there, and must get nothing by them.
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the server has removed it
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil // likewise
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 0 || !info.IsDir() && stat.Nlink > 1 {
			return nil
		}
		if err := root.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("give %s to the owner of the state folder: %w", path, err)
		}
		return nil
	})
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
	trusted, err := f.Trusted()
	if err != nil {
		return nil, err
	}
	return catalogue.Open(f.imageDir(), trusted)
}

// Trusted are the folder's own key and those of others whose signatures count.
func (f Folder) Trusted() (trusted []envelope.PublicKey, err error) {
	keys, err := f.Keys()
	for _, key := range keys {
		trusted = append(trusted, key.Public)
	}
	return trusted, err
}
