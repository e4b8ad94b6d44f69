package bootweb

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"swarmboot/initramfs/bootargs"
)

// ErrToken says that a machine has shown a token that is not that of its boot,
// or not for the first time.
var ErrToken = errors.New("the token is not that of this boot, or is used up; a new boot brings another")

// seedPath is where cloud-init finds its data: below it come a word that only
// the machine has been told, and the name of a file.
const seedPath = "/nocloud/"

// Seed is the kernel argument that sends cloud-init to the server at base
// (https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html).
func Seed(base, word string) string {
	// The name with -net is the one that Debian 12's version takes too.
	return "ds=nocloud-net;s=" + base + seedPath + word + "/"
}

// describe gives a machine its boot description.
func (s *web) describe(w http.ResponseWriter, r *http.Request) {
	mac, ok := parseMAC(w, r.PathValue("mac"))
	if !ok {
		return
	}
	sealed, err := s.server.Describe(mac)
	if len(sealed) > bootargs.MaxDescription {
		err = errors.New("boot description is larger than machines read")
	}
	if err != nil && !errors.Is(err, ErrUnknown) {
		s.Log.Error("machine cannot be booted", "machine", mac.String(), "err", err)
	}
	sendSealed(w, sealed, err)
}

// identity gives a machine its identity, for its token.
func (s *web) identity(w http.ResponseWriter, r *http.Request) {
	mac, ok := parseMAC(w, r.PathValue("mac"))
	if !ok {
		return
	}
	const maxToken = 256
	token, ok := s.body(w, r, "identity", maxToken)
	if !ok {
		return
	}
	if !s.is(mac, r) {
		s.refuse(w, r, "identity", http.StatusForbidden, notItsOwn(mac.String()), "machine", mac.String())
		return
	}
	sealed, err := s.server.Identity(mac, string(token))
	if len(sealed) > bootargs.MaxIdentity {
		err = errors.New("identity is larger than machines read; give it fewer or smaller files")
	}
	switch {
	case err == nil:
		s.Log.Info("identity given", "machine", mac.String())
	case errors.Is(err, ErrToken):
		s.refuse(w, r, "identity", http.StatusGone, err, "machine", mac.String())
		return
	case !errors.Is(err, ErrUnknown):
		s.Log.Error("machine has no identity", "machine", mac.String(), "err", err)
	}
	sendSealed(w, sealed, err)
}

// sendSealed answers with what the server has sealed for a machine, or with why it
// has not.
func sendSealed(w http.ResponseWriter, sealed []byte, err error) {
	switch {
	case err == nil:
		sendMade(w, "application/json", sealed)
	case errors.Is(err, ErrUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// seed gives a file of cloud-init's data to the machine that it is for.
func (s *web) seed(w http.ResponseWriter, r *http.Request) {
	data, mac, ok := s.server.Seed(r.PathValue("word"), r.PathValue("file"))
	if !s.is(mac, r) {
		s.refuse(w, r, "cloud-init", http.StatusNotFound, errors.New("there is nothing for who asks"))
		return
	}
	if !ok { // cloud-init asks for files that not everybody has
		http.NotFound(w, r)
		return
	}
	s.Log.Info("data for cloud-init given", "machine", mac.String(), "file", r.PathValue("file"))
	sendText(w, data)
}

// withoutSecrets is an URL as it may stand in a log.
func withoutSecrets(u *url.URL) string {
	if strings.HasPrefix(u.Path, seedPath) {
		return seedPath + "..."
	}
	return u.String()
}
