package bootargs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"

	"swarmboot/initramfs/envelope"
)

// DescriptionPath is where a machine fetches its boot description.
func DescriptionPath(mac net.HardwareAddr) string { return "/describe/" + mac.String() }

// MaxDescription bounds the size in bytes of a description in its envelope.
const MaxDescription = 16 << 20

// A Description tells one machine what to boot and where the pieces are. It
// travels in an envelope of type envelope.DescriptionType.
type Description struct {
	Machine  string           `json:"machine"`           // MAC it was made for
	Name     string           `json:"name,omitempty"`    // host name; empty leaves the image's own
	Image    string           `json:"image"`             // name@version
	Manifest json.RawMessage  `json:"manifest"`          // images.Manifest in its own envelope; peerd opens it
	Torrent  []byte           `json:"torrent"`           // metainfo file (BEP 3) of the root; its SHA-256 is in the manifest
	Tracker  string           `json:"tracker"`           // announce URL (BEP 3)
	Seeder   string           `json:"seeder"`            // host:port of the peer inside the boot server
	Peers    []netip.AddrPort `json:"peers,omitempty"`   // some machines with the image, to begin with even if the tracker is silent
	Rack     string           `json:"rack,omitempty"`    // where it stands; machines with the same are near each other
	RootURL  string           `json:"root_url"`          // the root image for HTTP range requests, the fallback
	Cache    string           `json:"cache,omitempty"`   // name of the disk partition that pieces are kept on; empty: memory alone
	Writes   Writes           `json:"writes,omitzero"`   // where what the machine writes is kept; zero: in memory, until its next boot
	Deltas   []string         `json:"deltas,omitempty"`  // URLs of what the root has in common with others that the cache may have pieces of
	Serve    []BootFile       `json:"serve,omitempty"`   // what it serves to loaders of its rack mates, once its image is complete
	Install  Install          `json:"install,omitzero"`  // what to write to a disk; zero: nothing
	Profile  []int            `json:"profile,omitempty"` // pieces in the order in which a boot first reads them
}

// Writes is a place on a disk of the machine.
type Writes struct {
	Partition string `json:"partition"` // its name in the disk's GPT
	Folder    string `json:"folder"`    // in the file system there, for this image
}

// The characters of a folder are those of image names, which the options of a
// mount leave as they are.
var folder = regexp.MustCompile(`^[a-z0-9][a-z0-9@._-]*$`)

// BootPort is the TCP port where a machine serves what the loaders of its rack
// mates fetch, by HTTP.
const BootPort = 6882

// A BootFile is a file that loaders fetch.
type BootFile struct {
	Path   string `json:"path"`   // of its URL, at the boot server and at a machine
	SHA256 string `json:"sha256"` // 64 hex digits
}

func (w Writes) validate() error {
	if w.Partition != "" && !folder.MatchString(w.Folder) {
		return fmt.Errorf("writes: %q is no folder's name", w.Folder)
	}
	return nil
}

// Seal encodes and signs d.
func (d Description) Seal(key envelope.Signer) ([]byte, error) {
	payload, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("boot description of %s: %w", d.Machine, err)
	}
	return envelope.Sign(key, envelope.DescriptionType, payload)
}

// OpenDescription verifies data and decodes the description, which must be the
// one for mac.
func OpenDescription(trusted []envelope.PublicKey, mac net.HardwareAddr, data []byte) (Description, error) {
	payload, err := envelope.Open(trusted, envelope.DescriptionType, data)
	if err != nil {
		return Description{}, fmt.Errorf("boot description: %w", err)
	}
	d, err := ParseDescription(payload)
	if err != nil {
		return Description{}, fmt.Errorf("boot description: %w", err)
	}
	if d.Machine != mac.String() {
		return Description{}, fmt.Errorf("boot description is for machine %s, this is %s", d.Machine, mac)
	}
	return d, nil
}

// ParseDescription decodes a verified payload and checks what init and peerd
// rely on.
func ParseDescription(payload []byte) (Description, error) {
	var d Description
	if err := json.Unmarshal(payload, &d); err != nil {
		return Description{}, err
	}
	if _, err := net.ParseMAC(d.Machine); err != nil {
		return Description{}, fmt.Errorf("machine: %w", err)
	}
	for name, value := range map[string]string{"tracker": d.Tracker, "root_url": d.RootURL} {
		if u, err := url.Parse(value); err != nil || u.Scheme != "http" || u.Host == "" {
			return Description{}, fmt.Errorf("%s: %q is no http URL", name, value)
		}
	}
	if _, err := netip.ParseAddrPort(d.Seeder); err != nil {
		return Description{}, fmt.Errorf("seeder: %w", err)
	}
	if d.Image == "" || len(d.Manifest) == 0 || len(d.Torrent) == 0 {
		return Description{}, fmt.Errorf("image, manifest or torrent is missing")
	}
	if err := errors.Join(d.Writes.validate(), d.Install.validate()); err != nil {
		return Description{}, err
	}
	for _, f := range d.Serve {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return Description{}, fmt.Errorf("serve: %q is no path", f.Path)
		}
	}
	for _, piece := range d.Profile {
		if piece < 0 {
			return Description{}, fmt.Errorf("profile: piece %d", piece)
		}
	}
	return d, nil
}
