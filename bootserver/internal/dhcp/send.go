package dhcp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

const (
	serverPort = 67
	clientPort = 68
	pxePort    = 4011 // where a ROM fetches its boot file if the offer has not named it
)

var everyone = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort)

// A route is the way a reply takes.
type route struct {
	to    netip.AddrPort
	frame net.HardwareAddr // not nil: the machine has no address yet, so send to its card
}

// routeOf follows RFC 2131 section 4.1.
func routeOf(req, reply *dhcpv4.DHCPv4, from arrival) route {
	relay, current, offered := addr(reply.GatewayIPAddr), addr(reply.ClientIPAddr), addr(reply.YourIPAddr)
	switch {
	case relay.IsValid():
		port := uint16(serverPort)
		if _, own := subOption(req, relaySourceSub); own && from.source.Port() != 0 {
			port = from.source.Port()
		}
		return route{to: netip.AddrPortFrom(relay, port)}
	case from.port == pxePort:
		return route{to: from.source}
	case reply.MessageType() == dhcpv4.MessageTypeNak:
		return route{to: everyone}
	case current.IsValid():
		return route{to: netip.AddrPortFrom(current, clientPort)}
	case reply.IsBroadcast() || !offered.IsValid():
		return route{to: everyone}
	default:
		return route{to: netip.AddrPortFrom(offered, clientPort), frame: reply.ClientHWAddr}
	}
}

// send sends a reply from the port that its request came to, through the UDP
// socket, or as a frame of its own to a card whose machine cannot answer ARP yet.
// source is our address there.
func (w *wire) send(reply *dhcpv4.DHCPv4, source netip.Addr, r route, port uint16) error {
	data := reply.ToBytes()
	if r.frame != nil {
		if w.raw == nil && w.sendFrame(data, source, r) == nil {
			return nil
		}
		r = route{to: everyone} // every client tried takes a broadcast reply too, asked for or not
	}
	socket := w.dhcp
	if port == pxePort {
		socket = w.pxe
	}
	var err error
	if socket == nil {
		r.frame = ethernetBroadcast
		err = w.sendFrame(data, source, r)
	} else {
		from := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.index), Spec_dst: source.As4()})
		_, _, err = socket.WriteMsgUDPAddrPort(data, from, r.to)
	}
	if err != nil {
		return fmt.Errorf("send %s to %s on %s: %w", reply.MessageType(), r.to, w.name, err)
	}
	return nil
}
