package bootserver

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/stage"
	"swarmboot/initramfs/wholefile"
)

// identities keeps what makes each machine itself for as long as there is the
// machine, and gives it away once in each boot: for the token in the script that
// the machine itself has fetched since its firmware asked for an address.
type identities struct {
	dir    string
	secret []byte // by which a server knows the tokens that it gave before a restart

	mu     sync.Mutex
	tokens map[string]*token // guarded by mu; by MAC
}

// A token is that of one boot.
type token struct {
	word  string // empty: no script of this boot has been sent
	seed  string // opens the data for cloud-init until the machine is ready
	spent bool
}

// tokenLife is how long a token is good after a restart of the server: longer
// than any boot takes from its script to our init.
const tokenLife = time.Hour

// A kept identity is the file of one machine. The machine is known by it: who
// has it can pose as the machine.
type kept struct {
	MachineID     string `json:"machine_id"`
	HostKey       string `json:"host_key"`
	HostKeyPublic string `json:"host_key_public"`
}

// identityFolder is where identities lie in the state folder.
const identityFolder = "identities"

func openIdentities(dir string) (*identities, error) {
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
	return &identities{dir: dir, secret: secret, tokens: map[string]*token{}}, nil
}

// newWord makes a token for mac: when it was made, what no other has, and what
// only a server with our secret can make of these.
func (i *identities) newWord(mac string, now time.Time) string {
	word := strconv.FormatInt(now.Unix(), 36) + "." + rand.Text()
	return word + "." + i.sign(mac, word)
}

func (i *identities) sign(mac, word string) string {
	h := hmac.New(sha256.New, i.secret)
	h.Write([]byte(mac + " " + word))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// made tells whether a server with our secret has made word for mac not long ago.
func (i *identities) made(mac, word string, now time.Time) bool {
	at := strings.LastIndexByte(word, '.')
	if at < 0 || !hmac.Equal([]byte(word[at+1:]), []byte(i.sign(mac, word[:at]))) {
		return false
	}
	begun, _, _ := strings.Cut(word, ".")
	seconds, err := strconv.ParseInt(begun, 36, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)) < tokenLife
}

// begin forgets the token of the boot before.
func (i *identities) begin(mac string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens[mac] = &token{}
}

// token is that of the boot which mac is in; empty when it is spent.
func (i *identities) token(mac string) (word, seed string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.tokens[mac]
	if t == nil || t.word == "" {
		t = &token{word: i.newWord(mac, time.Now()), seed: rand.Text()}
		i.tokens[mac] = t
	}
	if t.spent {
		return "", ""
	}
	return t.word, t.seed
}

// spend tells whether word is the token of mac's boot, which it is once. Of a
// machine that it has not heard of since a restart, the server takes a token that
// it has given before.
func (i *identities) spend(mac, word string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	t, known := i.tokens[mac]
	if !known {
		if !i.made(mac, word, time.Now()) {
			return false
		}
		t = &token{word: word}
		i.tokens[mac] = t
	}
	if t.spent || t.word == "" || subtle.ConstantTimeCompare([]byte(t.word), []byte(word)) == 0 {
		return false
	}
	t.spent = true
	return true
}

// seeded is the machine whose data for cloud-init seed opens.
func (i *identities) seeded(seed string) (mac string, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for mac, t := range i.tokens {
		if t.seed != "" && subtle.ConstantTimeCompare([]byte(t.seed), []byte(seed)) == 1 {
			return mac, true
		}
	}
	return "", false
}

// ready ends what cloud-init may fetch: a system that has reached its login has
// done so.
func (i *identities) ready(mac string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if t := i.tokens[mac]; t != nil {
		t.seed = ""
	}
}

// of reads the identity of mac, and makes it for a machine that has none.
func (i *identities) of(mac string) (kept, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	path := filepath.Join(i.dir, strings.ReplaceAll(mac, ":", "-")+".json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return i.make(path)
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		return kept{}, fmt.Errorf("identity %s: %w; without the file the machine gets a new one", path, err)
	}
	return k, nil
}

// HostKeys are the public SSH host keys of the machines whose identities are in a
// state folder, by MAC.
func HostKeys(state string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(state, identityFolder, "[^.]*.json"))
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var k kept
		if err := json.Unmarshal(data, &k); err != nil {
			return nil, fmt.Errorf("identity %s: %w", file, err)
		}
		mac := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".json"), "-", ":")
		keys[mac] = k.HostKeyPublic
	}
	return keys, nil
}

func (i *identities) make(path string) (kept, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return kept{}, fmt.Errorf("make SSH host key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return kept{}, fmt.Errorf("make SSH host key: %w", err)
	}
	shown, err := ssh.NewPublicKey(public)
	if err != nil {
		return kept{}, fmt.Errorf("make SSH host key: %w", err)
	}
	k := kept{
		MachineID:     newMachineID(),
		HostKey:       string(pem.EncodeToMemory(block)),
		HostKeyPublic: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(shown))),
	}
	data, err := json.Marshal(k)
	if err == nil {
		err = wholefile.Write(path, data, 0o600)
	}
	if err != nil {
		return kept{}, fmt.Errorf("keep identity: %w", err)
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

// claim are the kernel arguments by which a listed machine gets its identity,
// and cloud-init its data. Others are nobody in particular.
func (s *Server) claim(mac net.HardwareAddr) []string {
	m, listed := s.site.Load().machines[mac.String()]
	// Once Linux runs, whoever asks for the script is not the machine's loader: any
	// program on it can.
	if !listed || s.fleet.Reaches(mac.String(), stage.Init) {
		return nil
	}
	word, seed := s.identities.token(mac.String())
	if word == "" {
		return nil
	}
	args := []string{bootargs.Token(word)}
	if m.UserData.Content != "" {
		_, n, _ := s.machine(mac)
		args = append(args, bootweb.Seed(s.site.Load().base(n), seed))
	}
	return args
}

// identity seals what makes mac itself.
func (s *Server) identity(mac net.HardwareAddr, word string) ([]byte, error) {
	m, _, ok := s.machine(mac)
	if !ok {
		return nil, bootweb.ErrUnknown
	}
	k, err := s.identities.of(mac.String())
	if err != nil {
		return nil, err
	}
	// Once the image runs, any program on it can read the token.
	if s.fleet.Reaches(mac.String(), stage.SwitchRoot) || !s.identities.spend(mac.String(), word) {
		return nil, bootweb.ErrToken
	}
	i := bootargs.Identity{
		Machine: mac.String(), MachineID: k.MachineID, HostKey: k.HostKey, HostKeyPublic: k.HostKeyPublic,
		AuthorizedKeys: m.AuthorizedKeys, DHCP: m.NetworkSetup == DHCPSetup,
	}
	for _, f := range m.Files {
		i.Files = append(i.Files, bootargs.File{Path: f.Path, Mode: f.Mode, Content: []byte(f.Content)})
	}
	return i.Seal(s.key)
}

// seed is one of the files that cloud-init asks for (its NoCloud data source).
func (s *Server) seed(word, name string) (data string, mac net.HardwareAddr, ok bool) {
	text, ok := s.identities.seeded(word)
	if !ok {
		return "", nil, false
	}
	mac, err := net.ParseMAC(text)
	if err != nil {
		return "", nil, false
	}
	m, _, ok := s.machine(mac)
	if !ok || m.UserData.Content == "" {
		return "", nil, false
	}
	switch name {
	case "meta-data":
		k, err := s.identities.of(text)
		if err != nil {
			s.log.Error("no data for cloud-init", "machine", text, "err", err)
			return "", mac, false
		}
		data, err := json.Marshal(map[string]string{"instance-id": k.MachineID, "local-hostname": m.Name}) // JSON is YAML
		return string(data), mac, err == nil
	case "user-data":
		return m.UserData.Content, mac, true
	case "vendor-data":
		return "", mac, true // asked for, and may be empty
	}
	return "", mac, false
}
