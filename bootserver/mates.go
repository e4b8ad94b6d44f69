package bootserver

import (
	"math/rand/v2"
	"net"
	"net/netip"
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
	boots  string    // what it serves: the image's digest and the initramfs'
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

// heard takes what a machine says about itself, and returns how many bytes more
// it has sent since it last did.
func (m *mates) heard(mac string, p *stage.BootServing, now time.Time) (sent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one, ok := m.known[mac]
	if !ok || p == nil {
		return 0
	}
	sent = max(0, p.Sent-one.sent)
	one.ready, one.sent = now, p.Sent
	m.known[mac] = one
	return sent
}

// forget says that a machine boots anew.
func (m *mates) forget(mac string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, mac)
}

// bootFilesOf are the files that a loader fetches for an image, and a name for all.
func (s *Server) bootFilesOf(image *catalogue.Image) (name string, files []bootargs.BootFile) {
	archive := s.web.Initramfs[image.Manifest.Arch]
	files = []bootargs.BootFile{{Path: bootweb.InitramfsPath + image.Manifest.Arch, SHA256: archive.Digest}}
	for _, part := range []catalogue.Part{catalogue.Kernel, catalogue.Modules} {
		files = append(files, bootargs.BootFile{Path: bootweb.PartPath(image, part), SHA256: catalogue.Describe(&image.Manifest, part).SHA256})
	}
	return image.Digest + " " + archive.Digest, files
}

// keeps are the files that m is to serve to others of its rack; none if it is not
// to.
func (s *Server) keeps(m Machine, image *catalogue.Image) []bootargs.BootFile {
	if !m.BootFromPeers {
		return nil
	}
	name, files := s.bootFilesOf(image)
	if !s.mates.choose(m.MAC.String(), s.rackOf(s.address(m.MAC)), name, time.Now()) {
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
	name, _ := s.bootFilesOf(image)
	mac, err := net.ParseMAC(s.mates.pick(m.MAC.String(), s.rackOf(s.address(m.MAC)), name, time.Now()))
	if err != nil {
		return ""
	}
	address := s.address(mac)
	if !address.Is4() {
		return ""
	}
	return "http://" + netip.AddrPortFrom(address, bootargs.BootPort).String()
}
