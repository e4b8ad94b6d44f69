package bootargs

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"path"
	"regexp"
	"strings"

	"swarmboot/initramfs/envelope"
)

// IdentityPath is where a machine fetches its identity: by POST, with its token
// as the body.
func IdentityPath(mac net.HardwareAddr) string { return "/identity/" + mac.String() }

// MaxIdentity bounds the size in bytes of an identity in its envelope.
const MaxIdentity = 16 << 20

// An Identity is what makes one machine itself, besides its name. There are
// secrets in it, so a machine gets it once in each boot, for the token that
// stands among its kernel arguments. It travels in an envelope of type
// envelope.IdentityType.
type Identity struct {
	Machine        string   `json:"machine"`                   // MAC it was made for
	MachineID      string   `json:"machine_id,omitempty"`      // machine-id(5)
	HostKey        string   `json:"host_key,omitempty"`        // private SSH host key, ed25519, in OpenSSH's PEM
	HostKeyPublic  string   `json:"host_key_public,omitempty"` // its public half, one line
	AuthorizedKeys []string `json:"authorized_keys,omitempty"` // lines that root's authorized_keys gets besides the image's own
	Files          []File   `json:"files,omitempty"`
	DHCP           bool     `json:"dhcp,omitempty"` // have the image's own network service keep the booting card by DHCP
}

// A File is put into the machine's root, in place of one of the image's.
type File struct {
	Path    string      `json:"path"` // absolute
	Mode    fs.FileMode `json:"mode"` // permission bits
	Content []byte      `json:"content"`
}

// Seal encodes and signs i.
func (i Identity) Seal(key envelope.Signer) ([]byte, error) {
	payload, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("identity of %s: %w", i.Machine, err)
	}
	return envelope.Sign(key, envelope.IdentityType, payload)
}

// OpenIdentity verifies data and decodes the identity, which must be the one for
// mac.
func OpenIdentity(trusted []envelope.PublicKey, mac net.HardwareAddr, data []byte) (Identity, error) {
	payload, err := envelope.Open(trusted, envelope.IdentityType, data)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	i, err := parseIdentity(payload)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	if i.Machine != mac.String() {
		return Identity{}, fmt.Errorf("identity is that of machine %s, this is %s", i.Machine, mac)
	}
	return i, nil
}

var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func parseIdentity(payload []byte) (Identity, error) {
	var i Identity
	if err := json.Unmarshal(payload, &i); err != nil {
		return Identity{}, err
	}
	if i.MachineID != "" && !machineID.MatchString(i.MachineID) {
		return Identity{}, fmt.Errorf("machine ID %q: want 32 hex digits", i.MachineID)
	}
	for _, f := range i.Files {
		if err := f.Validate(); err != nil {
			return Identity{}, err
		}
	}
	return i, nil
}

// Validate tells what is wrong with a file before a machine is.
func (f File) Validate() error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) {
		return fmt.Errorf("file %q: want an absolute path, such as /etc/motd", f.Path)
	}
	// What these hold is mounted over before the image's init starts.
	for _, dir := range []string{"/dev/", "/proc/", "/sys/"} {
		if strings.HasPrefix(f.Path, dir) {
			return fmt.Errorf("file %s: %s belongs to the kernel", f.Path, dir)
		}
	}
	if f.Mode&^fs.ModePerm != 0 || f.Mode == 0 {
		return fmt.Errorf("file %s: mode %o; want permissions such as 0644", f.Path, uint32(f.Mode))
	}
	return nil
}
