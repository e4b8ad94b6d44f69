// Package dhcp6 gives machines IPv6 addresses and tells their firmware what to
// load (RFC 8415, RFC 5970).
//
// It answers machines on the server's own wire; relays for IPv6 are left to a
// later day. What a machine loads it asks a Chooser, as package dhcp does, and
// bootserver.Server is the only caller. That machines ask at all is the work of
// package ra.
//
// A packet travels Serve (below), read (client.go), which says who asks, handle
// (below), addresses (addresses.go), which remember who has which, and answer
// (answer.go).
package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/internal/leasestore"
)

const serverPort = 547

// servers is the group that machines send to, on one wire (RFC 8415 section 7.1).
var servers = netip.MustParseAddr("ff02::1:2")

// A Chooser decides what each machine loads: in Boot.File always a URL.
type Chooser interface {
	Choose(dhcp.Client) (dhcp.Boot, error)
	Answered(client dhcp.Client, address netip.Addr)
}

// A Network is where the server answers.
type Network struct {
	Name        string
	Interface   string
	Server      netip.Addr              // the server's own address there
	First, Last netip.Addr              // may be invalid: reserved addresses only
	Reserved    map[dhcp.MAC]netip.Addr // by the admin
	DNS         []netip.Addr            // those that are IPv6 addresses are told
	Lease       time.Duration
}

// Server answers on one network.
type Server struct {
	network   Network
	duid      dhcpv6.DUID
	chooser   Chooser
	addresses *addresses
	log       *slog.Logger
}

// New reads the leases; it opens no socket.
func New(n Network, store leasestore.Store, chooser Chooser, log *slog.Logger) (*Server, error) {
	a, err := newAddresses(n, store)
	if err != nil {
		return nil, err
	}
	// The server is known by its address: the same after every restart.
	duid := &dhcpv6.DUIDUUID{UUID: n.Server.As16()}
	return &Server{network: n, duid: duid, chooser: chooser, addresses: a, log: log}, nil
}

// Owner is the machine that has been given address.
func (s *Server) Owner(address netip.Addr) (dhcp.MAC, bool) { return s.addresses.owner(address) }

// Listen opens port 547 on the network's interface.
func (s *Server) Listen(ctx context.Context) (*net.UDPConn, error) {
	ifi, err := net.InterfaceByName(s.network.Interface)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var errSet error
		err := raw.Control(func(fd uintptr) {
			errSet = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, ifi.Name)
		})
		return errors.Join(err, errSet)
	}}
	conn, err := lc.ListenPacket(ctx, "udp6", fmt.Sprintf("[::]:%d", serverPort))
	if err != nil {
		return nil, err
	}
	if err := ipv6.NewPacketConn(conn).JoinGroup(ifi, &net.UDPAddr{IP: servers.AsSlice()}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("join %s: %w", servers, err)
	}
	return conn.(*net.UDPConn), nil
}

// Serve answers until ctx is done. It closes conn.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		reply, done := s.handle(ctx, buf[:n], from.Addr())
		if reply == nil {
			continue
		}
		if _, err := conn.WriteToUDPAddrPort(reply.ToBytes(), from); err != nil {
			s.log.Warn("answer was not sent", "peer", from, "err", err)
			continue
		}
		if done != nil {
			done()
		}
	}
}

// handle decides about one packet. The reply is nil if there is none to send;
// done is to be called once it is sent.
func (s *Server) handle(ctx context.Context, data []byte, from netip.Addr) (reply *dhcpv6.Message, done func()) {
	defer func() { // a packet that makes us panic costs only itself
		if fault := recover(); fault != nil {
			s.log.Error("a packet was too much", "err", fault, "packet", fmt.Sprintf("%x", data))
			reply, done = nil, nil
		}
	}()
	req, client, err := read(data, from)
	if err != nil {
		s.log.Debug("packet ignored", "peer", from, "err", err)
		return nil, nil
	}
	client.Network = s.network.Name
	// RFC 8415 section 16: to each kind of message belongs a server's name, or none.
	if named := req.Options.ServerID(); named != nil && !named.Equal(s.duid) || named == nil && needsServer(req.MessageType) {
		return nil, nil
	}
	log := s.log.With("machine", client.MAC.String())
	boot, err := s.chooser.Choose(client)
	if err != nil {
		log.Debug("machine gets no answer", "err", err)
		return nil, nil
	}
	var address netip.Addr
	now := time.Now()
	switch req.MessageType {
	case dhcpv6.MessageTypeSolicit:
		address, err = s.addresses.choose(client.MAC, now)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		if address, err = s.addresses.choose(client.MAC, now); err == nil {
			err = s.addresses.claim(ctx, client.MAC, address, now)
		}
	case dhcpv6.MessageTypeDecline:
		if ia := req.Options.OneIANA(); ia != nil {
			for _, a := range ia.Options.Addresses() {
				if bad, ok := netip.AddrFromSlice(a.IPv6Addr); ok && s.addresses.decline(client.MAC, bad, now) {
					log.Warn("address set aside: the machine says that another computer uses it", "address", bad)
				}
			}
		}
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeInformationRequest:
		// The machine gets the same address again; nothing is to be done.
	default:
		return nil, nil
	}
	if err != nil {
		log.Error("machine gets no address", "err", err)
	}
	reply = answer(req, client, s.duid, s.network, address, boot)
	return reply, func() {
		log.Info("dhcpv6 "+reply.MessageType.String()+" sent", "address", address, "network", s.network.Name, "program", client.Program, "load", boot.File)
		s.chooser.Answered(client, address)
	}
}

func needsServer(kind dhcpv6.MessageType) bool {
	switch kind {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeRelease:
		return true
	}
	return false
}
