package bootserver

import (
	"encoding/json"
	"net"
	"path/filepath"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/bootserver/internal/identities"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/stage"
)

// identityFolder is where the machines' identities lie in the state folder.
const identityFolder = "identities"

// HostKeys are the public SSH host keys of the machines whose identities are in a
// state folder, by MAC.
func HostKeys(state string) (map[string]string, error) {
	return identities.HostKeys(filepath.Join(state, identityFolder))
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
	word, seed := s.identities.Token(mac.String())
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
	k, err := s.identities.Of(mac.String())
	if err != nil {
		return nil, err
	}
	// Once the image runs, any program on it can read the token.
	if s.fleet.Reaches(mac.String(), stage.SwitchRoot) || !s.identities.Spend(mac.String(), word) {
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
	text, ok := s.identities.Seeded(word)
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
		k, err := s.identities.Of(text)
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
