// Package identities keeps what makes each machine itself, and the tokens by which
// it is given away: once in each boot (tokens.go), to the machine alone.
//
// bootserver.Server is its only caller, and seals what it gives.
package identities

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"swarmboot/initramfs/wholefile"
)

// Store keeps what makes each machine itself for as long as there is the
// machine, and gives it away once in each boot: for the token in the script that
// the machine itself has fetched since its firmware asked for an address.
type Store struct {
	dir    string
	secret []byte // by which a server knows the tokens that it gave before a restart

	mu     sync.Mutex
	tokens map[string]*token // guarded by mu; by MAC
}

// Identity is the file of one machine. The machine is known by it: who has it can
// pose as the machine.
type Identity struct {
	MachineID     string `json:"machine_id"`
	HostKey       string `json:"host_key"`
	HostKeyPublic string `json:"host_key_public"`
}

// Open makes dir, where nothing is yet, and the secret in it.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("identities: %w", err)
	}
	path := filepath.Join(dir, "secret")
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = []byte(rand.Text() + rand.Text())
		err = wholefile.Write(path, secret, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("identities: %w", err)
	}
	return &Store{dir: dir, secret: secret, tokens: map[string]*token{}}, nil
}

// Of reads the identity of mac, and makes it for a machine that has none.
func (s *Store) Of(mac string) (Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, strings.ReplaceAll(mac, ":", "-")+".json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.make(path)
	}
	var k Identity
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("identity %s: %w; without the file the machine gets a new one", path, err)
	}
	return k, nil
}

// HostKeys are the public SSH host keys of the machines whose identities are in
// dir, by MAC.
func HostKeys(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "[^.]*.json"))
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var k Identity
		if err := json.Unmarshal(data, &k); err != nil {
			return nil, fmt.Errorf("identity %s: %w", file, err)
		}
		mac := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".json"), "-", ":")
		keys[mac] = k.HostKeyPublic
	}
	return keys, nil
}

func (s *Store) make(path string) (Identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("make SSH host key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return Identity{}, fmt.Errorf("make SSH host key: %w", err)
	}
	shown, err := ssh.NewPublicKey(public)
	if err != nil {
		return Identity{}, fmt.Errorf("make SSH host key: %w", err)
	}
	k := Identity{
		MachineID:     newMachineID(),
		HostKey:       string(pem.EncodeToMemory(block)),
		HostKeyPublic: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(shown))),
	}
	data, err := json.Marshal(k)
	if err == nil {
		err = wholefile.Write(path, data, 0o600)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("keep identity: %w", err)
	}
	return k, nil
}

// newMachineID is random, and a version 4 UUID as systemd's are.
func newMachineID() string {
	var id [16]byte
	rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return hex.EncodeToString(id[:])
}
