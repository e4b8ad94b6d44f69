package bootserver

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/loaders"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"
)

// dhcpSide is the Server as package dhcp sees it.
type dhcpSide struct{ *Server }

// Choose tells what a machine loads next: a loader, or with any iPXE its script.
func (s dhcpSide) Choose(c dhcp.Client) (dhcp.Boot, error) {
	boot, platform, err := s.site.Load().choose(c)
	switch {
	case err != nil && c.Program != dhcp.System:
		s.strangers.heard(c, time.Now())
	case err == nil && c.Program == dhcp.Firmware && boot.File == "":
		s.log.Warn("no loader for this machine; it gets an address only", "machine", c.MAC.String(), "platform", platform)
	}
	return boot, err
}

// choose does so from the config alone.
func (s *site) choose(c dhcp.Client) (dhcp.Boot, loaders.Platform, error) {
	m, n, listed, ok := s.asking(c)
	if !ok {
		return dhcp.Boot{}, "", dhcp.ErrDenied
	}
	boot := dhcp.Boot{Name: m.Name, Listed: listed}
	var platform loaders.Platform
	switch c.Program {
	case dhcp.System:
		// it has booted, or our init runs: an address is all it wants
	case dhcp.IPXE:
		// iPXE fills in its own settings; they only end up in the log.
		boot.File = s.base(n) + bootweb.ScriptPath + "?mac=" + c.MAC.String() + "&uuid=${uuid}&platform=${platform}&version=${version}"
	default:
		boot.File, platform = loaders.Choose(c.Architectures, m.Loader)
		if boot.File != "" && c.HTTP {
			boot.File = s.base(n) + bootweb.LoadersPath + boot.File
		}
	}
	return boot, platform, nil
}

// over6 is boot for a machine that asks over IPv6: all that it loads has a URL
// there, at the server's IPv6 address.
func (s *site) over6(boot dhcp.Boot, network string) dhcp.Boot {
	n, _ := s.network(network)
	if path, ours := strings.CutPrefix(boot.File, s.base(n)); ours {
		boot.File = s.url(n.Server6) + path
	} else if boot.File != "" {
		boot.File = "tftp://[" + n.Server6.String() + "]/" + boot.File
	}
	return boot
}

// dhcp6Side is the Server as package dhcp6 sees it.
type dhcp6Side struct{ dhcpSide }

// Choose tells what a machine loads next.
func (s dhcp6Side) Choose(c dhcp.Client) (dhcp.Boot, error) {
	boot, err := s.dhcpSide.Choose(c)
	return s.site.Load().over6(boot, c.Network), err
}

// owner is the machine that has been given address.
func (s *Server) owner(address netip.Addr) (dhcp.MAC, bool) {
	if address.Is6() {
		return s.dhcp6.Owner(address)
	}
	mac, ok := s.dhcp.Owner(address)
	if n := s.site.Load().networkOf(address); n.Mode != Off || !n.Subnet.Contains(address) {
		return mac, ok
	}
	// We have no part in who has which address there, but the kernel has just
	// talked to it.
	now, ok := neighbour(address)
	if ok && now != mac {
		s.dhcp.Learn(now, address)
	}
	return now, ok
}

// rackOf names the place of the machine that has been given address: the rack
// in which the admin says it stands, or else its network, which is a rack of its
// own where relays lead to it. It is what the swarm knows of near and far.
func (s *Server) rackOf(address netip.Addr) string {
	site := s.site.Load()
	if mac, ok := s.owner(address); ok {
		if m, ok := site.machine(mac.HardwareAddr(), address); ok && m.Rack != "" {
			return "rack " + m.Rack
		}
	}
	return "network " + site.networkOf(address).Name
}

// Answered notes the first sign of a boot.
func (s dhcpSide) Answered(c dhcp.Client, _ netip.Addr) {
	mac, now := c.MAC.String(), time.Now()
	if !c.Begins || c.Program == dhcp.System {
		s.fleet.Heard(mac, now)
		return
	}
	m, _, ok := s.machine(c.MAC.HardwareAddr())
	if !ok {
		return // a reload has just taken it out
	}
	if m.stranger {
		s.strangers.heard(c, now)
	}
	if s.fleet.Discovered(m.known(), c.Program == dhcp.IPXE, now) {
		s.identities.Begin(mac)
		s.mates.forget(mac)
		s.log.Info("boot begins", "machine", mac, "stage", stage.DHCP, "image", m.shown(), "platform", platform(c), "uuid", c.UUID)
	}
}

// platform names the firmware of a machine.
func platform(c dhcp.Client) loaders.Platform {
	_, p := loaders.Choose(c.Architectures, "")
	return p
}

// made is told by package tftp what a machine wants that is no file: the first
// thing that GRUB asks for.
func (s *Server) made(server netip.Addr, name string) (data []byte, ok bool) {
	if "/"+name != bootweb.GRUBConfigPath {
		return nil, false
	}
	site := s.site.Load()
	return []byte(bootweb.GRUBConfig(site.url(server))), true
}

// loading is told by package tftp which address fetches a loader.
func (s *Server) loading(address netip.Addr, _ string) {
	if mac, ok := s.owner(address); ok {
		s.report(stage.Report{Machine: mac.String(), Stage: stage.Loader})
	}
}

// report takes what a machine says, or what its requests say for it. After a
// restart of the server a machine may be heard of before it asks for an address.
func (s *Server) report(r stage.Report) {
	mac, err := net.ParseMAC(r.Machine)
	if err != nil {
		return
	}
	m, _, ok := s.machine(mac)
	if !ok {
		return
	}
	if r.Image == "" {
		r.Image = m.shown()
	}
	s.fleet.Add(fleet.Machine{MAC: r.Machine, Name: m.Name, Image: r.Image})
	log := s.log.With("machine", r.Machine, "stage", r.Stage, "image", r.Image)
	if refused := s.fleet.Refused(r); refused > 0 {
		log.Warn("machine refuses pieces that are not what was signed, and fetches them again", "pieces", refused)
	}
	if s.fleet.Report(r, time.Now()) {
		if r.Stage == stage.Failed {
			log.Error("machine failed", "at", r.At, "err", r.Reason)
		} else {
			log.Info("machine reached a stage")
		}
	}
	if r.Progress != nil && r.Progress.Serving != nil && m.BootFromPeers { // no machine makes itself one
		s.fleet.CountBoot(r.Image, s.mates.heard(r.Machine, s.rackOf(s.address(mac)), *r.Progress.Serving, time.Now()))
	}
	if r.Stage == stage.Ready {
		s.identities.Ready(r.Machine)
	}
	if len(r.Files) > 0 {
		s.recordTrace(r)
	}
	if r.Stage == stage.Ready && len(r.Touched) > 0 {
		s.recordProfile(r)
	}
}

// recordTrace keeps which files a machine has opened, for 'image build
// --optimize'.
func (s *Server) recordTrace(r stage.Report) {
	for _, o := range s.offered() {
		if o.Manifest.Ref().String() != r.Image {
			continue
		}
		log := s.log.With("machine", r.Machine, "image", r.Image)
		if err := s.profiles.RecordFiles(o.Digest, r.Files); err != nil {
			log.Error("trace of a boot was not kept", "err", err)
		} else {
			log.Info("boot traced", "files", len(r.Files))
		}
	}
}

// recordProfile keeps the read log of a machine that has booted one of our
// images.
func (s *Server) recordProfile(r stage.Report) {
	for _, o := range s.offered() {
		if o.Manifest.Ref().String() != r.Image {
			continue
		}
		boots, err := s.profiles.Record(o.Digest, r.Image, o.Manifest.Pieces.Count(), r.Touched)
		if err != nil {
			s.log.Error("read log was not kept; later boots fetch in no good order", "machine", r.Machine, "image", r.Image, "err", err)
		} else {
			s.log.Info("boot profile recorded", "machine", r.Machine, "image", r.Image, "pieces", len(r.Touched), "boots", boots)
		}
	}
}

func (s *Server) offered() []*offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*offer
	for _, o := range s.offers {
		all = append(all, o)
	}
	return all
}

// webSide is the Server as package bootweb sees it.
type webSide struct{ *Server }

func (s webSide) Plan(mac net.HardwareAddr) (bootweb.Plan, error) {
	plan, err := s.plan(mac)
	if err == nil {
		s.fleet.UseOverride(mac.String())
		s.boots(mac.String(), running{plan.Image.Manifest.Ref(), plan.KernelArgs})
	}
	return plan, err
}

func (s webSide) Base(mac net.HardwareAddr, own netip.Addr) string {
	site := s.site.Load()
	if own.Is6() {
		return site.url(own) // a loader that came over IPv6 has no IPv4 address
	}
	_, n, _ := s.machine(mac)
	return site.base(n)
}

func (s webSide) Describe(mac net.HardwareAddr) ([]byte, error) { return s.describe(mac) }

func (s webSide) Claim(mac net.HardwareAddr) []string { return s.claim(mac) }

func (s webSide) Identity(mac net.HardwareAddr, token string) ([]byte, error) {
	return s.identity(mac, token)
}

func (s webSide) Seed(word, file string) (data string, mac net.HardwareAddr, ok bool) {
	return s.seed(word, file)
}

func (s webSide) Initramfs(arch string) bootweb.Initramfs { return s.archive(arch) }

func (s webSide) Image(digest string) (*catalogue.Image, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.offers[digest]
	if !ok {
		return nil, false
	}
	return o.Image, true
}

func (s webSide) Delta(digest string, from images.Ref) ([]byte, error) { return s.delta(digest, from) }

func (s webSide) Sender(address netip.Addr) (net.HardwareAddr, bool) {
	mac, ok := s.owner(address)
	return mac.HardwareAddr(), ok
}

func (s webSide) Heard(hw net.HardwareAddr) {
	if mac, ok := dhcp.ToMAC(hw); ok {
		s.dhcp.Touch(mac)
		s.fleet.Heard(mac.String(), time.Now())
	}
}

func (s webSide) Inventory(i inventory.Inventory) (inventory.Order, error) { return s.found(i) }

func (s webSide) Report(r stage.Report) { s.report(r) }

func (s webSide) Refused(what string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[Refusal{what, status}]++
}

func (s webSide) RootSent(digest string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.offers[digest]; o != nil {
		o.httpBytes.Add(n)
	}
}
