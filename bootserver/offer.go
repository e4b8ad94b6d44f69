package bootserver

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/loaders"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd/announce"
)

// An offer is an image that machines boot.
type offer struct {
	*catalogue.Image
	infohash  [20]byte
	torrent   []byte
	httpBytes atomic.Int64 // of the root, sent over HTTP
}

// SwarmStatus is what the server has done for one image.
type SwarmStatus struct {
	Image       string  `json:"image"`
	Digest      string  `json:"digest"`
	ImageBytes  int64   `json:"image_bytes"`
	SeederBytes int64   `json:"seeder_bytes"` // of the root, over BitTorrent
	HTTPBytes   int64   `json:"http_bytes"`   // of the root, over HTTP
	PeerBytes   int64   `json:"peer_bytes"`   // of the root, from machine to machine, as the receivers tell
	FarBytes    int64   `json:"far_bytes"`    // of these, from rack to rack
	BootBytes   int64   `json:"boot_bytes"`   // of kernel and initramfs, from machine to machine, as the senders tell
	Copies      float64 `json:"copies"`       // the server's, over both, in roots
	Peers       int     `json:"peers"`        // machines in the swarm
}

// machine finds what the admin says about mac, and the network that it is on.
func (s *Server) machine(hw net.HardwareAddr) (Machine, Network, bool) {
	site, address := s.site.Load(), s.address(hw)
	m, ok := site.machine(hw, address)
	if !ok {
		return Machine{}, site.networkOf(address), false
	}
	n, _ := site.network(m.Network)
	return s.overridden(m), n, true
}

// address is what a machine has been given; invalid if nothing.
func (s *Server) address(hw net.HardwareAddr) netip.Addr {
	mac, ok := dhcp.ToMAC(hw)
	if !ok {
		return netip.Addr{}
	}
	return s.dhcp.Address(mac)
}

// offer verifies an image and opens its swarm. It does so for each machine that
// asks: an image that was changed on disk is not offered any more. What has not
// changed is not read again.
func (s *Server) offer(ref images.Ref) (*offer, error) {
	// One at a time: a hall of machines asks at once, and one reading is enough.
	s.verifying.Lock()
	defer s.verifying.Unlock()
	image, err := s.catalogue.Get(ref)
	if errors.Is(err, catalogue.ErrNotFound) {
		return nil, s.missing(ref, err)
	}
	if err != nil {
		return nil, err
	}
	for _, part := range catalogue.Parts {
		if err := image.Verify(part); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	known := s.offers[image.Digest]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	o := &offer{Image: image}
	if o.torrent, err = readPart(image, catalogue.Torrent); err != nil {
		return nil, err
	}
	if o.infohash, err = metainfo.Parse(o.torrent, image.Manifest.Pieces); err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	if err := s.seeder.Add(image); err != nil {
		return nil, err
	}
	site := s.site.Load()
	s.tracker.Open(o.infohash, site.seeder(site.Networks[0]))
	s.mu.Lock()
	s.offers[image.Digest] = o
	s.mu.Unlock()
	return o, nil
}

func readPart(image *catalogue.Image, part catalogue.Part) ([]byte, error) {
	f, err := image.Open(part)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read %s of image %s: %w", part, image.Manifest.Ref(), err)
	}
	return data, nil
}

// plan is what mac boots.
func (s *Server) plan(mac net.HardwareAddr) (bootweb.Plan, error) {
	m, n, ok := s.machine(mac)
	if !ok {
		return bootweb.Plan{}, bootweb.ErrUnknown
	}
	o, err := s.offer(m.Image)
	if err != nil {
		return bootweb.Plan{}, err
	}
	if arch := o.Manifest.Arch; s.archive(arch).File == "" {
		return bootweb.Plan{}, fmt.Errorf("image %s is for %s, and there is no initramfs for it; make it with mkinitramfs -arch %s, beside the other", m.Image, arch, arch)
	}
	args := s.site.Load().kernelArgs(m, n)
	install, err := s.install(m, n, o, args)
	if err != nil {
		return bootweb.Plan{}, err
	}
	plan := bootweb.Plan{
		MAC: mac, Name: m.Name, Image: o.Image, KernelArgs: args, IPXEVersion: loaders.IPXEVersion,
		Local: install.Digest != "" && install.Digest == s.fleet.Installed(mac.String()),
	}
	if !plan.Local {
		plan.Mate, plan.IPXE = s.mate(m, o.Image), s.takesOver(m.Loader, o.Manifest.Arch)
	}
	return plan, nil
}

// takesOver are the loaders that run in place of a network card's own iPXE. Only
// of the pinned ones is it known what they call themselves; another would never be
// taken for ours and load itself for ever.
func (s *Server) takesOver(policy loaders.Policy, arch string) map[string]string {
	files := loaders.TakesOver(policy, arch)
	maps.DeleteFunc(files, func(_, file string) bool { return s.foreign[file] })
	return files
}

// firstPeers is how many machines a boot description names: enough to find a
// living one when the tracker is gone by the time the swarm is joined.
const firstPeers = 8

// describe seals the boot description of mac.
func (s *Server) describe(mac net.HardwareAddr) ([]byte, error) {
	m, n, ok := s.machine(mac)
	if !ok {
		return nil, bootweb.ErrUnknown
	}
	if m.stranger {
		return nil, fmt.Errorf("machine %s is not listed; it waits to be adopted", mac)
	}
	ref := s.booted(m)
	o, err := s.offer(ref)
	if err != nil {
		return nil, err
	}
	profile, err := s.profiles.Get(o.Digest, o.Manifest.Pieces.Count())
	if err != nil {
		s.log.Error("no boot profile; the machine fetches in no good order", "machine", mac, "stage", stage.Network, "image", ref, "err", err)
	}
	site := s.site.Load()
	base := site.base(n)
	install, err := s.install(m, n, o, site.kernelArgs(m, n))
	if err != nil {
		return nil, err
	}
	var deltas []string
	if m.Cache != "" {
		for _, path := range s.deltaPaths(mac, o.Image) {
			deltas = append(deltas, base+path)
		}
	}
	return bootargs.Description{
		Machine:  mac.String(),
		Name:     m.Name,
		Image:    o.Manifest.Ref().String(), // which m.Image, a tag, may only stand for
		Manifest: o.Envelope,
		Torrent:  o.torrent,
		Tracker:  base + announce.Path,
		Seeder:   site.seeder(n).String(),
		Peers:    s.tracker.Some(o.infohash, s.address(mac), firstPeers),
		Rack:     s.rackOf(s.address(mac)),
		RootURL:  base + bootweb.PartPath(o.Image, catalogue.Root),
		Cache:    m.Cache,
		Writes:   m.writes(o.Image),
		Deltas:   deltas,
		Serve:    s.keeps(m, o.Image),
		Install:  install,
		Profile:  profile,
	}.Seal(s.key)
}

// writes is where m keeps what it writes while it boots image. A version that was
// built anew under an old name is another image.
func (m Machine) writes(image *catalogue.Image) bootargs.Writes {
	return m.writesOn(m.Persistent, image)
}

// writesOn is the same for a partition that need not be that of the settings.
func (m Machine) writesOn(partition string, image *catalogue.Image) bootargs.Writes {
	if partition == "" {
		return bootargs.Writes{}
	}
	folder := image.Manifest.Name
	if m.PersistentOver != OverImage {
		folder = fmt.Sprintf("%s-%.12s", image.Manifest.Ref(), image.Digest)
	}
	return bootargs.Writes{Partition: partition, Folder: folder}
}

// Swarms tells what the server has done for each image.
func (s *Server) Swarms() []SwarmStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]SwarmStatus, 0, len(s.offers))
	if s.seeder == nil {
		return all
	}
	seeded := s.seeder.Stats()
	for digest, o := range s.offers {
		ref := o.Manifest.Ref().String()
		given, far := s.fleet.Given(ref)
		status := SwarmStatus{
			Image: ref, Digest: digest, ImageBytes: o.Manifest.Root.Size,
			SeederBytes: seeded[digest].Uploaded, HTTPBytes: o.httpBytes.Load(), PeerBytes: given, FarBytes: far, BootBytes: s.fleet.BootGiven(ref),
			Peers: s.tracker.Peers(o.infohash),
		}
		status.Copies = float64(status.SeederBytes+status.HTTPBytes) / float64(status.ImageBytes)
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b SwarmStatus) int { return strings.Compare(a.Image, b.Image) })
	return all
}
