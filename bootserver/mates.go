package bootserver

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/stage"
)

const (
	// matesPerRack is how many machines of a rack keep what the others' loaders
	// fetch. Two: one may be switched off at any time.
	matesPerRack = 2

	mateFetches = 10 * time.Minute // from its boot description, until another is chosen in its place
	mateSilence = 90 * time.Second // of a machine that reports twice a minute: it may be gone
)

// mates are the machines that serve kernel and initramfs to others of their rack,
// by MAC.
type mates struct {
	mu    sync.Mutex
	known map[string]mate // guarded by mu
}

type mate struct {
	rack   string
	boots  string    // the digests of what it serves
	chosen time.Time // when it was asked to
	ready  time.Time // when it last said that it does; zero: not yet
	sent   int64     // bytes that it has sent
}

// alive tells whether it serves, or may be about to.
func (m mate) alive(now time.Time) bool {
	if m.ready.IsZero() {
		return now.Sub(m.chosen) < mateFetches
	}
	return now.Sub(m.ready) < mateSilence
}

// choose has a machine be a mate if its rack lacks one.
func (m *mates) choose(mac, rack, boots string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := 0
	for other, o := range m.known {
		if other != mac && o.rack == rack && o.boots == boots && o.alive(now) {
			count++
		}
	}
	if count >= matesPerRack {
		return false
	}
	if m.known == nil {
		m.known = map[string]mate{}
	}
	m.known[mac] = mate{rack: rack, boots: boots, chosen: now}
	return true
}

// pick returns a mate that is ready, or nothing.
func (m *mates) pick(mac, rack, boots string, now time.Time) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ready []string
	for other, o := range m.known {
		if other != mac && o.rack == rack && o.boots == boots && !o.ready.IsZero() && o.alive(now) {
			ready = append(ready, other)
		}
	}
	if len(ready) == 0 {
		return ""
	}
	return ready[rand.IntN(len(ready))]
}

// heard takes what a machine says that it serves, and returns how many bytes more
// it has sent since it last did. It may have been chosen before a restart of the
// server.
func (m *mates) heard(mac, rack string, p stage.BootServing, now time.Time) (sent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]mate{}
	}
	sent = max(0, p.Sent-m.known[mac].sent)
	m.known[mac] = mate{rack: rack, boots: strings.Join(p.Files, " "), ready: now, sent: p.Sent}
	return sent
}

// forget says that a machine boots anew.
func (m *mates) forget(mac string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, mac)
}

// bootFilesOf are the files that a loader fetches for an image, and their digests
// in a row.
func (s *Server) bootFilesOf(image *catalogue.Image) (boots string, files []bootargs.BootFile) {
	m := image.Manifest
	files = []bootargs.BootFile{
		{Path: bootweb.InitramfsPath + m.Arch, SHA256: s.archive(m.Arch).Digest},
		{Path: bootweb.PartPath(image, catalogue.Kernel), SHA256: m.Kernel.SHA256},
		{Path: bootweb.PartPath(image, catalogue.Modules), SHA256: m.Modules.SHA256},
	}
	return files[0].SHA256 + " " + files[1].SHA256 + " " + files[2].SHA256, files
}

// keeps are the files that m is to serve to others of its rack; none if it is not
// to.
func (s *Server) keeps(m Machine, image *catalogue.Image) []bootargs.BootFile {
	if !m.BootFromPeers {
		return nil
	}
	boots, files := s.bootFilesOf(image)
	if !s.mates.choose(m.MAC.String(), s.rackOf(s.address(m.MAC)), boots, time.Now()) {
		return nil
	}
	return files
}

// mate is the base URL of a machine that serves m what it loads; empty: the server
// does.
func (s *Server) mate(m Machine, image *catalogue.Image) string {
	if !m.BootFromPeers {
		return ""
	}
	boots, _ := s.bootFilesOf(image)
	mac, err := net.ParseMAC(s.mates.pick(m.MAC.String(), s.rackOf(s.address(m.MAC)), boots, time.Now()))
	if err != nil {
		return ""
	}
	address := s.address(mac)
	if !address.Is4() {
		return ""
	}
	return "http://" + netip.AddrPortFrom(address, bootargs.BootPort).String()
}
