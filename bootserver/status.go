package bootserver

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/initramfs/stage"
)

// What the admin's side asks: pages, API and commands show these and nothing
// else.

// Machines tells how far each machine has come.
func (s *Server) Machines() []fleet.MachineStatus {
	all, _, _ := s.MachinesSince(0)
	return all
}

// MachinesSince tells of the machines that have changed after the change
// numbered last, names the MACs of those that are known no more, and gives the
// number of the last change. Change 0 was before all machines.
func (s *Server) MachinesSince(last uint64) (changed []fleet.MachineStatus, removed []string, now uint64) {
	changed, removed, now = s.fleet.Since(last)
	for i := range changed {
		s.place(&changed[i])
	}
	return changed, removed, now
}

// Machine tells all about one machine; ok is false if none has this MAC.
func (s *Server) Machine(mac string) (d fleet.MachineDetail, ok bool) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return fleet.MachineDetail{}, false
	}
	d, ok = s.fleet.Detail(hw.String())
	s.place(&d.MachineStatus)
	d.Hot = s.hot(d.Image)
	return d, ok
}

// hot is a bit map of the pieces that recorded boots of an image have read; nil
// where none was recorded.
func (s *Server) hot(image string) []byte {
	for _, o := range s.offered() {
		if o.Manifest.Ref().String() != image {
			continue
		}
		hot := map[int]bool{}
		for _, piece := range s.profiles.Order(o.Digest) {
			hot[piece] = true
		}
		if len(hot) > 0 {
			return stage.BitMap(o.Manifest.Pieces.Count(), func(piece int) bool { return hot[piece] })
		}
	}
	return nil
}

// place adds where a machine stands: in which rack and at which address.
func (s *Server) place(m *fleet.MachineStatus) {
	hw, err := net.ParseMAC(m.MAC)
	if err != nil {
		return
	}
	listed := s.site.Load().machines[m.MAC]
	m.Rack, m.Group = listed.Rack, listed.Group
	if mac, ok := dhcp.ToMAC(hw); ok {
		m.Address = s.dhcp.Address(mac)
	}
}

// Throughput is how fast an image went out in the last minutes.
func (s *Server) Throughput(image string) Throughput { return s.meter.of(image) }

// ImageStatus is one image of the catalogue and what it is used for.
type ImageStatus struct {
	Image      string                  `json:"image"` // name@version
	Tags       []string                `json:"tags"`  // that stand for it
	Digest     string                  `json:"digest"`
	Arch       string                  `json:"arch"`
	Kernel     string                  `json:"kernel"`      // release
	Filesystem string                  `json:"filesystem"`  // of the root
	RootBytes  int64                   `json:"root_bytes"`  //
	BootBytes  int64                   `json:"boot_bytes"`  // kernel and modules
	PieceBytes int64                   `json:"piece_bytes"` //
	Pieces     int                     `json:"pieces"`      // of the root
	Hot        int                     `json:"hot"`         // pieces that a recorded boot has read; 0: none was recorded
	Machines   map[fleet.Condition]int `json:"machines"`    // how many run it, or are to
	Swarm      *SwarmStatus            `json:"swarm,omitempty"`
}

// Images tells of all images in the catalogue, in the order of their names.
func (s *Server) Images() ([]ImageStatus, error) {
	list, err := s.catalogue.List()
	if err != nil {
		return nil, err
	}
	tags, err := s.catalogue.Tags()
	if err != nil {
		s.log.Error("tags are damaged", "err", err) // the others are told
	}
	byDigest := map[string][]string{}
	for tag, image := range tags {
		byDigest[image.Digest] = append(byDigest[image.Digest], tag.Version)
	}
	machines := map[string]map[fleet.Condition]int{}
	for _, m := range s.fleet.List() {
		if machines[m.Image] == nil {
			machines[m.Image] = map[fleet.Condition]int{}
		}
		machines[m.Image][m.Condition]++
	}
	swarms := map[string]*SwarmStatus{}
	for _, swarm := range s.Swarms() {
		swarms[swarm.Digest] = &swarm
	}
	all := make([]ImageStatus, 0, len(list))
	for _, image := range list {
		m := image.Manifest
		ref := m.Ref().String()
		status := ImageStatus{
			Image: ref, Tags: append([]string{}, slices.Sorted(slices.Values(byDigest[image.Digest]))...), Digest: image.Digest, Arch: m.Arch, Kernel: m.KernelRelease, Filesystem: m.Filesystem,
			RootBytes: m.Root.Size, BootBytes: m.Kernel.Size + m.Modules.Size,
			PieceBytes: m.Pieces.Length, Pieces: m.Pieces.Count(), Hot: len(s.profiles.Order(image.Digest)),
			Machines: machines[ref], Swarm: swarms[image.Digest],
		}
		if status.Machines == nil {
			status.Machines = map[fleet.Condition]int{}
		}
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b ImageStatus) int { return strings.Compare(a.Image, b.Image) })
	return all, nil
}

// NetworkStatus is one network that is served.
type NetworkStatus struct {
	Name      string     `json:"name"`
	Interface string     `json:"interface,omitempty"`
	Server    netip.Addr `json:"server"`
	Subnet    string     `json:"subnet"`
	Mode      Mode       `json:"mode"`
	Pool      string     `json:"pool,omitempty"` // FIRST-LAST
	PoolSize  int        `json:"pool_size"`      // addresses in it
	PoolUsed  int        `json:"pool_used"`      // of these, given out
	Unknown   Policy     `json:"unknown"`

	OtherServers []OtherServer `json:"other_servers"` // DHCP servers that were heard there
}

// OtherServer is a DHCP server, not ours, that was heard in the last half hour. In
// mode proxy there should be one, in mode full there must be none.
type OtherServer struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
	File    string     `json:"file,omitempty"` // what it tells machines to boot
	Heard   time.Time  `json:"heard"`
}

// Lease is an address that a machine has been given.
type Lease struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
	Name    string     `json:"name,omitempty"`
	Expires time.Time  `json:"expires"`
}

// Networks tells of the networks in the order of the config.
func (s *Server) Networks() []NetworkStatus {
	leases, others := s.dhcp.Leases(), s.dhcp.Rivals()
	now := time.Now()
	all := []NetworkStatus{}
	for _, n := range s.site.Load().Networks {
		status := NetworkStatus{Name: n.Name, Interface: n.Interface, Server: n.Server, Subnet: n.Subnet.String(), Mode: n.Mode, Unknown: n.Unknown, OtherServers: []OtherServer{}}
		if n.Pool.First.IsValid() {
			status.Pool, status.PoolSize = n.Pool.String(), n.Pool.size()
		}
		for _, l := range leases {
			if n.Pool.Contains(l.Address) && l.Expires.After(now) {
				status.PoolUsed++
			}
		}
		for _, o := range others {
			if o.Network == n.Name {
				status.OtherServers = append(status.OtherServers, OtherServer{Address: o.Address, MAC: o.MAC.String(), File: o.File, Heard: o.Heard})
			}
		}
		all = append(all, status)
	}
	return all
}

// size counts the addresses of an IPv4 range.
func (r Range) size() int {
	first, last := r.First.As4(), r.Last.As4()
	return int(binary.BigEndian.Uint32(last[:])-binary.BigEndian.Uint32(first[:])) + 1
}

// Stays tells how long machines were at each stage.
func (s *Server) Stays() []fleet.Stays { return s.fleet.Stays() }

// DHCPStats counts packets.
type DHCPStats = dhcp.Stats

// DHCPStats counts the packets of all networks since the server was started.
func (s *Server) DHCPStats() DHCPStats { return s.dhcp.Stats() }

// A Refusal is a kind of requests by HTTP that were refused, of machines or of who
// poses as one.
type Refusal struct {
	What   string // that was asked for or told
	Status int    // of the answer
}

// Refusals counts them since the server was started.
func (s *Server) Refusals() map[Refusal]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.refused)
}

// Leases are the addresses that were given out, in their order.
func (s *Server) Leases() []Lease {
	names := map[string]string{}
	for _, m := range s.site.Load().Machines {
		names[m.MAC.String()] = m.Name
	}
	all := []Lease{}
	for _, l := range s.dhcp.Leases() {
		mac := l.MAC.String()
		all = append(all, Lease{Address: l.Address, MAC: mac, Name: names[mac], Expires: l.Expires})
	}
	slices.SortFunc(all, func(a, b Lease) int { return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.MAC, b.MAC)) })
	return all
}

// Strangers are the machines that asked for a boot and are not in the config,
// the last heard first.
func (s *Server) Strangers() []Stranger {
	listed := s.site.Load().machines
	return slices.DeleteFunc(s.strangers.list(), func(one Stranger) bool {
		_, adopted := listed[one.MAC]
		return adopted
	})
}
