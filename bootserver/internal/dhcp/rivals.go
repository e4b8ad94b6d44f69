package dhcp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/mdlayher/packet"
)

const (
	seekEvery = 10 * time.Minute // a DISCOVER of our own goes out
	seekWait  = 10 * time.Second // other servers have answered it, if there are any
	rivalLife = 3 * seekEvery    // a server that was not heard for so long has gone
)

// A Rival is another DHCP server that was heard on a network of ours. In proxy
// mode there should be one.
type Rival struct {
	Network string     `json:"network"`
	Address netip.Addr `json:"address"`
	MAC     MAC        `json:"mac"`            // of its card, or of the last router before us
	File    string     `json:"file,omitempty"` // what it tells machines to boot
	Heard   time.Time  `json:"heard"`
}

// rivals are the other servers that were heard.
type rivals struct {
	xid dhcpv4.TransactionID // of our own DISCOVERs

	mu    sync.Mutex
	heard []Rival // guarded by mu
}

// ours tells whether req is a DISCOVER that we have sent ourselves.
func (r *rivals) ours(req *dhcpv4.DHCPv4) bool { return req.TransactionID == r.xid }

// note keeps what was heard, and tells whether it is new.
func (r *rivals) note(heard Rival) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := func(o Rival) bool {
		return o.Network == heard.Network && o.Address == heard.Address && o.MAC == heard.MAC
	}
	i := slices.IndexFunc(r.heard, same)
	if i < 0 {
		if len(r.heard) < 64 { // whoever floods us with addresses gets no memory
			r.heard = append(r.heard, heard)
		}
		return true
	}
	if heard.File == "" {
		heard.File = r.heard[i].File // it tells this only to some
	}
	news = heard.File != r.heard[i].File || heard.Heard.Sub(r.heard[i].Heard) > rivalLife
	r.heard[i] = heard
	return news
}

// Rivals lists the other DHCP servers that were heard in the last half hour.
func (s *Server) Rivals() []Rival {
	s.rivals.mu.Lock()
	defer s.rivals.mu.Unlock()
	s.rivals.heard = slices.DeleteFunc(s.rivals.heard, func(r Rival) bool { return time.Since(r.Heard) > rivalLife })
	return slices.Clone(s.rivals.heard)
}

// overheardReply looks at a server's reply that is on the wire of network n.
func (s *Server) overheardReply(n *network, data []byte, from netip.Addr, mac MAC) {
	if from == n.Server {
		return // our own: most of what is heard
	}
	reply, err := dhcpv4.FromBytes(data)
	if err != nil || reply.OpCode != dhcpv4.OpcodeBootReply || n.Mode == Off {
		return
	}
	server := addr(reply.ServerIdentifier())
	if !server.IsValid() {
		server = from
	}
	isServer := func(o *network) bool { return o.Server == server || o.Server == from }
	if slices.ContainsFunc(*s.networks.Load(), isServer) {
		return // our own, by way of a relay
	}
	file := reply.BootFileName
	if name := reply.BootFileNameOption(); name != "" {
		file = strings.TrimRight(name, "\x00")
	}
	rival := Rival{Network: n.Name, Address: server, MAC: mac, File: file, Heard: time.Now()}
	if !s.rivals.note(rival) {
		return
	}
	log := s.log.With("network", n.Name, "server", server, "mac", mac.String(), "file", fmt.Sprintf("%.60q", file))
	switch {
	case n.Mode == Full:
		log.Warn("another DHCP server answers here; machines may get address and boot file from it: stop it, or set the network's mode to proxy or reservations")
	case file != "":
		log.Warn("the other DHCP server here names a boot file too, and machines may load that one: take next-server and boot file out of its config")
	default:
		log.Info("another DHCP server answers here, as is expected in this mode", "mode", n.Mode)
	}
}

// seekRivals asks for an address now and then, to hear who offers one. Most
// servers send an offer to the machine's card alone, so without a question of our
// own they would stay unheard.
func (w *wire) seekRivals(ctx context.Context, s *Server) error {
	for {
		if n, ok := s.networks.Load().on(w.name); ok && n.Mode != Off {
			if err := w.seek(s.rivals.xid); err != nil {
				s.log.Debug("other servers were not asked", "interface", w.name, "err", err)
			}
		}
		if wait(ctx, seekWait) != nil {
			return nil
		}
		n, ok := s.networks.Load().on(w.name)
		none := !slices.ContainsFunc(s.Rivals(), func(r Rival) bool { return ok && r.Network == n.Name })
		if ok && n.Mode == Proxy && none {
			s.log.Warn("no DHCP server answers here; in proxy mode another one must give the addresses: start it, or set the network's mode to full", "network", n.Name)
		}
		if wait(ctx, seekEvery) != nil {
			return nil
		}
	}
}

// seek sends a DISCOVER as firmware does, so that a server that has boot files
// for firmware names them.
func (w *wire) seek(xid dhcpv4.TransactionID) error {
	req, err := dhcpv4.NewDiscovery(w.mac.HardwareAddr(), dhcpv4.WithTransactionID(xid), dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000")),
		dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName))
	if err != nil {
		return err
	}
	data := datagram{netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(everyone.Addr(), serverPort), req.ToBytes()}.packet()
	_, err = w.frames.WriteTo(data, &packet.Addr{HardwareAddr: ethernetBroadcast})
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
