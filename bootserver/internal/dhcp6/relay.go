package dhcp6

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"swarmboot/bootserver/internal/dhcp"
)

// maxHops is how many relays may stand between a machine and its server (RFC 8415
// section 7.6, HOP_COUNT_LIMIT).
const maxHops = 8

// relays are what a machine's message came through, the one next to the server
// first. None: the machine is on the server's own wire.
type relays []*dhcpv6.RelayMessage

// unpack takes a machine's message out of what relays have put around it.
func unpack(packet dhcpv6.DHCPv6) (*dhcpv6.Message, relays, error) {
	var via relays
	for {
		switch p := packet.(type) {
		case *dhcpv6.Message:
			return p, via, nil
		case *dhcpv6.RelayMessage:
			if p.MessageType != dhcpv6.MessageTypeRelayForward {
				return nil, nil, fmt.Errorf("%s is for relays", p.MessageType)
			}
			if via = append(via, p); len(via) > maxHops {
				return nil, nil, fmt.Errorf("more than %d relays; do they send to each other?", maxHops)
			}
			packet = p.Options.RelayMessage()
		default:
			return nil, nil, errors.New("a relay has sent no message of a machine")
		}
	}
}

// peer is the machine's own address; on the server's wire that it sent from.
func (r relays) peer(from netip.Addr) netip.Addr {
	if len(r) == 0 {
		return from
	}
	peer, _ := netip.AddrFromSlice(r[len(r)-1].PeerAddr)
	return peer
}

// mac is what the relay next to the machine says of its hardware (RFC 6939).
func (r relays) mac() (dhcp.MAC, bool) {
	if len(r) == 0 {
		return dhcp.MAC{}, false
	}
	kind, address := r[len(r)-1].Options.ClientLinkLayerAddress()
	mac, ok := dhcp.ToMAC(address)
	return mac, ok && kind == iana.HWTypeEthernet
}

// link is an address that stands for the machine's network: what the relay
// nearest to it says that can say it, as a relay inside a switch cannot (RFC 8415
// section 13.1, RFC 6221). Invalid: the machine is on the server's own wire.
func (r relays) link() netip.Addr {
	for i := len(r) - 1; i >= 0; i-- {
		if a, ok := netip.AddrFromSlice(r[i].LinkAddr); ok && !a.IsUnspecified() {
			return a
		}
	}
	return netip.Addr{}
}

// wrap puts around an answer what the relays need to hand it on (RFC 8415 section
// 19.3).
func (r relays) wrap(message dhcpv6.DHCPv6) dhcpv6.DHCPv6 {
	for i := len(r) - 1; i >= 0; i-- {
		hop := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayReply, HopCount: r[i].HopCount, LinkAddr: r[i].LinkAddr, PeerAddr: r[i].PeerAddr}
		for _, code := range []dhcpv6.OptionCode{dhcpv6.OptionInterfaceID, dhcpv6.OptionRelayPort} {
			if o := r[i].GetOneOption(code); o != nil {
				hop.AddOption(o)
			}
		}
		hop.AddOption(dhcpv6.OptRelayMessage(message))
		message = hop
	}
	return message
}

// back is where the answer goes to a packet that came from from: a relay listens
// on the servers' port unless it says that it does not (RFC 8357).
func (r relays) back(from netip.AddrPort) netip.AddrPort {
	if len(r) == 0 || r[0].Options.RelayPort() != nil {
		return from
	}
	return netip.AddrPortFrom(from.Addr(), serverPort)
}
