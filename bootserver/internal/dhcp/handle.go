package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// An inbound packet is what came in at a port.
type inbound struct {
	data []byte
	from arrival
	on   *wire     // that it came by
	at   time.Time // when, by the kernel's clock where it told
}

// An arrival is what the packet itself does not say.
type arrival struct {
	ifname    string
	source    netip.AddrPort // of the datagram
	broadcast bool           // sent to all, not to us
	port      uint16         // that it was sent to: serverPort or pxePort
}

// A verdict is what is to be done about a packet. The zero verdict is: nothing.
type verdict struct {
	reply *dhcpv4.DHCPv4
	route route
	done  func() // to be called once the reply is sent; may be nil

	failed bool // the packet deserves a reply that cannot be given

	claim  *claim                    // if not nil: must be settled first, and then
	decide func(bool, error) verdict // decides about the packet

	// suspect, if valid, is an address that is new to the machine: before the
	// reply goes out, somebody should see whether another computer uses it.
	suspect netip.Addr
	network *network
	client  Client
}

// handle decides about one packet. It sends nothing, and waits for nothing.
func (s *Server) handle(data []byte, from arrival) verdict {
	req, client, err := parse(data)
	if err != nil {
		s.log.Debug("packet ignored", "err", err)
		return verdict{}
	}
	if s.rivals.ours(req) {
		return verdict{} // two of our interfaces are on one wire
	}
	n, err := s.networks.Load().of(req, from)
	if err != nil {
		if s.quiet.allow(err.Error()) {
			s.log.Warn("packet ignored", "machine", client.MAC.String(), "err", err)
		}
		return verdict{}
	}
	if n.Mode == Off {
		return verdict{}
	}
	client.Network = n.Name
	boot, err := s.chooser.Choose(client)
	if err != nil {
		if s.quiet.allow("denied " + client.MAC.String()) {
			s.log.Warn("machine gets no answer", "machine", client.MAC.String(), "program", client.Program, "network", n.Name, "err", err)
		}
		return verdict{}
	}
	if n.Mode == Reservations && !boot.Listed {
		s.log.Debug("machine is not listed, and its network answers listed machines only", "machine", client.MAC.String(), "network", n.Name)
		return verdict{}
	}
	e := &exchange{s, req, client, from, n, boot}
	switch {
	case from.port == pxePort:
		return e.bootFile()
	case n.Mode == Proxy:
		return e.beside()
	default:
		return e.lease()
	}
}

// An exchange is a packet that deserves thought: whose it is, on which network.
type exchange struct {
	*Server
	req     *dhcpv4.DHCPv4
	client  Client
	from    arrival
	network *network
	boot    Boot
}

// lease is the whole protocol of RFC 2131, section 4.3.
func (e *exchange) lease() verdict {
	n, now := e.network, time.Now()
	switch e.req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		address, unseen, err := n.leases.offer(e.client.MAC, addr(e.req.RequestedIPAddress()), now)
		if err != nil {
			return e.noAddress(err)
		}
		v := e.reply(dhcpv4.MessageTypeOffer, address)
		if unseen {
			v.suspect = address
		}
		return v

	case dhcpv4.MessageTypeRequest:
		address := asked(e.req, identity(e.req, n.Network))
		if !address.IsValid() {
			return verdict{}
		}
		claim := n.leases.claim(e.client.MAC, address, now)
		if claim == nil {
			return e.refuse(address)
		}
		return verdict{claim: claim, decide: func(granted bool, err error) verdict {
			switch {
			case err != nil:
				return e.noAddress(err)
			case !granted:
				return e.refuse(address)
			default:
				return e.reply(dhcpv4.MessageTypeAck, address)
			}
		}}

	case dhcpv4.MessageTypeDecline:
		if address := addr(e.req.RequestedIPAddress()); n.leases.decline(e.client.MAC, address, now) {
			e.counters.inUse.Add(1)
			e.log.Warn("address set aside: the machine says that another computer uses it", "machine", e.client.MAC.String(), "address", address, "network", n.Name)
		}
	case dhcpv4.MessageTypeRelease:
		n.leases.release(e.client.MAC, addr(e.req.ClientIPAddr), now)
	case dhcpv4.MessageTypeInform:
		if n.Subnet.Contains(addr(e.req.ClientIPAddr)) {
			return e.reply(dhcpv4.MessageTypeAck, netip.Addr{})
		}
	}
	return verdict{}
}

// beside is proxy mode on port 67: an offer without an address, next to that of
// the server that gives them. That server's address is read off the REQUEST,
// which the machine sends to all.
func (e *exchange) beside() verdict {
	switch e.req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if e.boot.boots(e.client) {
			return e.besideReply(dhcpv4.MessageTypeOffer)
		}
	case dhcpv4.MessageTypeRequest:
		address := addr(e.req.RequestedIPAddress())
		if !address.IsValid() {
			address = addr(e.req.ClientIPAddr)
		}
		e.network.leases.learn(e.client.MAC, address, time.Now())
	}
	return verdict{}
}

// bootFile answers a ROM that comes to port 4011 for its boot file: it has an
// address already, and sends to us alone.
func (e *exchange) bootFile() verdict {
	if kind := e.req.MessageType(); kind != dhcpv4.MessageTypeRequest && kind != dhcpv4.MessageTypeInform {
		return verdict{}
	}
	if e.from.broadcast || !addr(e.from.source.Addr().AsSlice()).IsValid() || !e.boot.boots(e.client) {
		return verdict{}
	}
	return e.besideReply(dhcpv4.MessageTypeAck)
}

func (e *exchange) reply(kind dhcpv4.MessageType, address netip.Addr) verdict {
	reply, err := answer(e.req, e.client, kind, e.network.Network, address, e.boot)
	level := slog.LevelInfo
	if kind == dhcpv4.MessageTypeOffer {
		level = slog.LevelDebug // the ACK that follows says all of it, and halls of machines are logged
	}
	return e.verdict(reply, err, func() {
		e.log.Log(context.Background(), level, "dhcp "+kind.String()+" sent", "machine", e.client.MAC.String(), "address", address,
			"network", e.network.Name, "program", string(e.client.Program), "load", e.boot.File)
		e.chooser.Answered(e.client, address)
	})
}

func (e *exchange) besideReply(kind dhcpv4.MessageType) verdict {
	reply, err := answerBeside(e.req, e.client, kind, e.network.Network, e.boot)
	return e.verdict(reply, err, func() {
		e.log.Info("proxy dhcp "+kind.String()+" sent", "machine", e.client.MAC.String(), "network", e.network.Name,
			"program", string(e.client.Program), "load", e.boot.File)
		e.chooser.Answered(e.client, netip.Addr{})
	})
}

// verdict is to send reply, and then call done.
func (e *exchange) verdict(reply *dhcpv4.DHCPv4, err error, done func()) verdict {
	if err != nil {
		e.log.Error("machine gets no answer", "machine", e.client.MAC.String(), "network", e.network.Name, "err", err)
		return verdict{failed: true}
	}
	return verdict{reply: reply, route: routeOf(e.req, reply, e.from), done: done, network: e.network, client: e.client}
}

func (e *exchange) refuse(address netip.Addr) verdict {
	e.log.Info("address refused", "machine", e.client.MAC.String(), "address", address, "network", e.network.Name)
	return e.verdict(refuse(e.req, e.network.Network, address.String()+" is not yours here"), nil, nil)
}

func (e *exchange) noAddress(err error) verdict {
	if e.quiet.allow(fmt.Sprint("no address ", e.client.MAC)) {
		e.log.Error("machine gets no address", "machine", e.client.MAC.String(), "network", e.network.Name, "err", err)
	}
	return verdict{failed: true}
}
