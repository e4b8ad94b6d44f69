// Package dhcp6 gives machines IPv6 addresses and tells their firmware what to
// load (RFC 8415, RFC 5970).
//
// What a machine loads it asks a Chooser, as package dhcp does, and
// bootserver.Server is the only caller. That machines ask at all is the work of
// package ra, and behind a relay that of the router there.
//
// A packet travels Serve (port.go), answerOne (below), read (client.go), which says who asks, relays
// (relay.go), which say where, handle (below), addresses (addresses.go), which
// remember who has which, and answer (answer.go).
package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/internal/leasestore"
)

// A Chooser decides what each machine loads: in Boot.File always a URL.
type Chooser interface {
	Choose(dhcp.Client) (dhcp.Boot, error)
	Answered(client dhcp.Client, address netip.Addr)
}

// A Network is where the server answers.
type Network struct {
	Name        string
	Interface   string                  // empty: it is reached through relays only
	Server      netip.Addr              // the server's own address, as machines there reach it
	Subnet      netip.Prefix            // the machines' addresses; by it a relay's network is known
	First, Last netip.Addr              // may be invalid: reserved addresses only
	Reserved    map[dhcp.MAC]netip.Addr // by the admin
	DNS         []netip.Addr            // those that are IPv6 addresses are told
	Lease       time.Duration
}

// duid is the server's name there. It follows from its address, and so is the
// same after every restart.
func (n Network) duid() dhcpv6.DUID { return &dhcpv6.DUIDUUID{UUID: n.Server.As16()} }

// Server answers on some networks.
type Server struct {
	store   leasestore.Store
	chooser Chooser
	log     *slog.Logger

	mu     sync.Mutex
	links  []*link   // guarded by mu; what is in a link never changes
	warned time.Time // guarded by mu; see mayWarn
}

// A link is a network in force, and who has which address there.
type link struct {
	Network
	addresses *addresses
}

// New reads the leases; it opens no socket.
func New(networks []Network, store leasestore.Store, chooser Chooser, log *slog.Logger) (*Server, error) {
	s := &Server{store: store, chooser: chooser, log: log}
	return s, s.Reload(networks)
}

// Reload puts other networks in force, or after an error none of them. Who has
// which address in a network that stays is not forgotten.
func (s *Server) Reload(networks []Network) error {
	known, err := s.store.All(context.Background())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var links []*link
	for _, n := range networks {
		held := newHeld(n.Name, known)
		for _, before := range s.links {
			if before.Name == n.Name {
				held = before.addresses.held
			}
		}
		links = append(links, &link{n, newAddresses(n, s.store, held)})
	}
	s.links = links
	return nil
}

// link is the network of a packet that came in at an interface, from a machine or
// by way of relays that name an address of the machine's network.
func (s *Server) link(ifname string, relayed netip.Addr) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if relayed.IsValid() && l.Subnet.Contains(relayed) || !relayed.IsValid() && l.Interface == ifname {
			return l, nil
		}
	}
	if relayed.IsValid() {
		return nil, fmt.Errorf("%w: it asks for the network of %s; add it under networks or take this server off the relay's list", errRelay, relayed)
	}
	return nil, fmt.Errorf("no IPv6 network is on %s", ifname)
}

// errRelay says that a relay and the config do not fit.
var errRelay = errors.New("a relay serves a network that is not in the config")

// ignored tells why a packet gets no answer: of a relay it is a mistake of the
// admin's, which the log names.
func (s *Server) ignored(from netip.AddrPort, err error) {
	level := slog.LevelDebug
	if errors.Is(err, errRelay) && s.mayWarn() {
		level = slog.LevelWarn
	}
	s.log.Log(context.Background(), level, "packet ignored", "peer", from, "err", err)
}

// mayWarn is true once in a minute: who gets no answer asks again and again.
func (s *Server) mayWarn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.warned) < time.Minute {
		return false
	}
	s.warned = time.Now()
	return true
}

// Owner is the machine that has been given address.
func (s *Server) Owner(address netip.Addr) (dhcp.MAC, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if mac, ok := l.addresses.owner(address); ok {
			return mac, true
		}
	}
	return dhcp.MAC{}, false
}

// answerOne answers a packet. It may have to wait until a lease is on disk; all
// that wait at the same time are written at once.
func (s *Server) answerOne(ctx context.Context, conn *net.UDPConn, data []byte, from netip.AddrPort, ifname string) {
	reply := s.handle(ctx, data, from, ifname)
	if reply.packet == nil {
		return
	}
	if _, err := conn.WriteToUDPAddrPort(reply.packet.ToBytes(), reply.to); err != nil {
		s.log.Warn("answer was not sent", "peer", reply.to, "err", err)
		return
	}
	reply.sent()
}

// A reply is what handle has decided to say.
type reply struct {
	packet dhcpv6.DHCPv6 // nil: nothing
	to     netip.AddrPort
	sent   func() // to be called once it is sent
}

// handle decides about one packet.
func (s *Server) handle(ctx context.Context, data []byte, from netip.AddrPort, ifname string) (r reply) {
	defer func() { // a packet that makes us panic costs only itself
		if fault := recover(); fault != nil {
			s.log.Error("a packet was too much", "err", fault, "packet", fmt.Sprintf("%x", data))
			r = reply{}
		}
	}()
	req, client, via, err := read(data, from.Addr())
	if err != nil {
		s.log.Debug("packet ignored", "peer", from, "err", err)
		return reply{}
	}
	n, err := s.link(ifname, via.link())
	if err != nil {
		s.ignored(from, err)
		return reply{}
	}
	client.Network = n.Name
	if !forUs(req.MessageType, req.Options.ServerID(), n.duid()) {
		return reply{}
	}
	log := s.log.With("machine", client.MAC.String())
	boot, err := s.chooser.Choose(client)
	if err != nil {
		log.Debug("machine gets no answer", "err", err)
		return reply{}
	}
	var address netip.Addr
	now := time.Now()
	switch req.MessageType {
	case dhcpv6.MessageTypeSolicit:
		address, err = n.addresses.offer(client.MAC, now)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		address, err = n.addresses.claim(ctx, client.MAC, now)
	case dhcpv6.MessageTypeDecline:
		if ia := req.Options.OneIANA(); ia != nil {
			for _, a := range ia.Options.Addresses() {
				if bad, ok := netip.AddrFromSlice(a.IPv6Addr); ok && n.addresses.decline(client.MAC, bad, now) {
					log.Warn("address set aside: the machine says that another computer uses it", "address", bad)
				}
			}
		}
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeInformationRequest:
		// The machine gets the same address again; nothing is to be done.
	case dhcpv6.MessageTypeConfirm:
		message := confirm(req, n.Network)
		if message == nil {
			return reply{}
		}
		return reply{via.wrap(message), via.back(from), func() {
			log.Info("dhcpv6 "+message.MessageType.String()+" sent", "status", message.Options.Status().StatusCode, "network", n.Name)
		}}
	default:
		return reply{}
	}
	if err != nil && s.mayWarn() {
		log.Error("machine gets no address", "network", n.Name, "err", err)
	}
	message := answer(req, client, n.Network, address, boot)
	return reply{via.wrap(message), via.back(from), func() {
		log.Info("dhcpv6 "+message.MessageType.String()+" sent", "address", address, "network", n.Name, "program", client.Program, "load", boot.File)
		s.chooser.Answered(client, address)
	}}
}

// forUs tells whether a message is one for the server own: to each kind belongs a
// server's name, or none (RFC 8415 section 16).
func forUs(kind dhcpv6.MessageType, named, own dhcpv6.DUID) bool {
	switch kind {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		return named == nil
	case dhcpv6.MessageTypeInformationRequest:
		return named == nil || named.Equal(own)
	}
	return named != nil && named.Equal(own)
}
