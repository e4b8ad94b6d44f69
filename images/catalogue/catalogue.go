// Package catalogue keeps the images on offer in a folder.
//
//	blobs/<sha256>            kernel, modules, root and torrent of all images
//	manifests/<digest>.json   signed manifests, in their envelopes
//	refs/<name>/<version>     the digest that this version stands for
//	tags/<name>/<tag>         the digest that this tag stands for now
//	partial/<sha256>          what has come of a blob that is fetched
//
// Blobs and manifests are named by their contents and never change. An image
// exists from the moment its ref does, which Add writes last (add.go), until
// Remove takes it away (remove.go); so a reader needs no lock, whatever happens
// to a writer. A tag is a name that moves (tag.go): wherever name@version
// stands, name@tag may. Each Get and List checks the signatures; Verify and
// VerifyAll check the bytes (verify.go). Export and Import carry an image from
// one catalogue to another, signature and all (transfer.go); Receive takes one
// whose files come in any other way, Partial keeps what has come of them.
//
// builder adds images, origin brings them from stores elsewhere, which are laid
// out like the folder; bootserver offers them; the command line does the rest.
package catalogue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"swarmboot/images"
	"swarmboot/initramfs/envelope"
)

// ErrNotFound says that the catalogue has no image of that name and version.
var ErrNotFound = errors.New("not in the catalogue")

// Part names one file of an image.
type Part string

// The files that an image consists of.
const (
	Kernel  Part = "kernel"
	Modules Part = "modules"
	Root    Part = "root"
	Torrent Part = "torrent"
)

// Parts is every Part.
var Parts = []Part{Kernel, Modules, Root, Torrent}

// Catalogue is a folder of images. Its methods may be called concurrently, and
// several processes may use one folder.
type Catalogue struct {
	dir string

	mu       sync.Mutex
	trusted  []envelope.PublicKey // guarded by mu
	verified map[string]stamp     // by path of a blob, as it was when Verify read it; guarded by mu
}

// Image is one entry of a catalogue.
type Image struct {
	Manifest images.Manifest
	Digest   string // of the manifest
	Envelope []byte // the signed manifest, as machines get it

	catalogue *Catalogue
}

// Open opens the catalogue in dir and makes the folder if it isn't there.
// Images count only if one of the trusted keys has signed them.
func Open(dir string, trusted []envelope.PublicKey) (*Catalogue, error) {
	for _, folder := range []string{"blobs", "manifests", "refs", "tags"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, fmt.Errorf("open catalogue: %w", err)
		}
	}
	return &Catalogue{dir: dir, trusted: trusted, verified: make(map[string]stamp)}, nil
}

// Trusted are the keys by whose signatures images count.
func (c *Catalogue) Trusted() []envelope.PublicKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trusted
}

// Trust has images count from now on by the signatures of these keys alone.
func (c *Catalogue) Trust(keys []envelope.PublicKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trusted = keys
}

// Dir is the catalogue's folder.
func (c *Catalogue) Dir() string { return c.dir }

// Get returns the image that ref names, by its version or by a tag. If there is
// none, the error is ErrNotFound and tells which images there are.
func (c *Catalogue) Get(ref images.Ref) (*Image, error) {
	if _, err := images.ParseRef(ref.String()); err != nil {
		return nil, err
	}
	i, err := c.read(ref)
	if errors.Is(err, fs.ErrNotExist) {
		i, err = c.readTag(ref)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image %s: %w, which has %s", ref, ErrNotFound, c.inventory())
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return i, nil
}

// List returns all images in the order of their names. Images that cannot be
// read or trusted are left out and named in the error, which may therefore come
// along with a list.
func (c *Catalogue) List() ([]*Image, error) {
	refs, err := c.refs()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var list []*Image
	var errs []error
	for _, ref := range refs {
		i, err := c.read(ref)
		if err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", ref, err))
			continue
		}
		list = append(list, i)
	}
	return list, errors.Join(errs...)
}

// Path is where a part of the image lies. It is empty for a part that images
// don't have.
func (i *Image) Path(part Part) string {
	p := Describe(&i.Manifest, part)
	if p == nil {
		return ""
	}
	return i.catalogue.blob(p.SHA256)
}

// Open opens a part of the image for reading.
func (i *Image) Open(part Part) (*os.File, error) {
	if Describe(&i.Manifest, part) == nil {
		return nil, fmt.Errorf("open %s of image %s: images have %v", part, i.Manifest.Ref(), Parts)
	}
	f, err := os.Open(i.Path(part))
	if err != nil {
		return nil, fmt.Errorf("open %s of image %s: %w", part, i.Manifest.Ref(), err)
	}
	return f, nil
}

// read follows a ref to its manifest and checks every step of the way.
func (c *Catalogue) read(ref images.Ref) (*Image, error) {
	digest, err := os.ReadFile(c.ref(ref))
	if err != nil {
		return nil, err
	}
	i, err := c.open(string(digest))
	if err == nil && i.Manifest.Ref() != ref {
		return nil, fmt.Errorf("%w: it has the manifest of %s", errDamaged, i.Manifest.Ref())
	}
	return i, err
}

// open reads the manifest with a digest, as it stands in a ref or tag.
func (c *Catalogue) open(digest string) (*Image, error) {
	digest = strings.TrimSpace(digest)
	data, err := os.ReadFile(c.manifest(digest))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errDamaged, err)
	}
	m, got, err := images.OpenManifest(c.Trusted(), data)
	if err != nil {
		return nil, err
	}
	if got != digest {
		return nil, fmt.Errorf("%w: %s is the manifest of %s, digest %s", errDamaged, c.manifest(digest), m.Ref(), got)
	}
	return &Image{Manifest: m, Digest: got, Envelope: data, catalogue: c}, nil
}

var errDamaged = errors.New("the catalogue is damaged; build the image again under a new version")

// refs lists the refs in order. Temporary files begin with a dot.
func (c *Catalogue) refs() ([]images.Ref, error) { return c.names("refs") }

func (c *Catalogue) names(folder string) ([]images.Ref, error) {
	names, err := fs.Glob(os.DirFS(c.dir), folder+"/*/[^.]*")
	if err != nil {
		return nil, err
	}
	var refs []images.Ref
	for _, name := range names {
		refs = append(refs, images.Ref{Name: path.Base(path.Dir(name)), Version: path.Base(name)})
	}
	return refs, nil
}

// inventory puts the refs into words.
func (c *Catalogue) inventory() string {
	refs, err := c.refs()
	if err != nil || len(refs) == 0 {
		return "no images"
	}
	var names []string
	for _, ref := range refs {
		names = append(names, ref.String())
	}
	return strings.Join(names, ", ")
}

// BlobName is where a blob lies in a catalogue's folder. This name and those
// below are with slashes, also in a store elsewhere.
func BlobName(sha256 string) string { return "blobs/" + sha256 }

// ManifestName is where a manifest lies.
func ManifestName(digest string) string { return "manifests/" + digest + ".json" }

// RefName is where the digest lies that a version stands for.
func RefName(r images.Ref) string { return "refs/" + r.Name + "/" + r.Version }

// TagName is where the digest lies that a tag stands for.
func TagName(r images.Ref) string { return "tags/" + r.Name + "/" + r.Version }

func (c *Catalogue) blob(sha256 string) string     { return filepath.Join(c.dir, BlobName(sha256)) }
func (c *Catalogue) manifest(digest string) string { return filepath.Join(c.dir, ManifestName(digest)) }
func (c *Catalogue) ref(r images.Ref) string       { return filepath.Join(c.dir, RefName(r)) }
func (c *Catalogue) tag(r images.Ref) string       { return filepath.Join(c.dir, TagName(r)) }

// Describe returns the place of part in m, nil for one that images do not have.
func Describe(m *images.Manifest, part Part) *images.Part {
	switch part {
	case Kernel:
		return &m.Kernel
	case Modules:
		return &m.Modules
	case Root:
		return &m.Root
	case Torrent:
		return &m.Torrent
	}
	return nil
}
