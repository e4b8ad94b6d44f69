package dhcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	serverPort = 67
	clientPort = 68
)

// A route is the way a reply takes.
type route struct {
	to    netip.AddrPort
	frame net.HardwareAddr // not nil: the machine has no address yet, so send to its card
}

// routeOf follows RFC 2131 section 4.1.
func routeOf(reply *dhcpv4.DHCPv4) route {
	everyone := route{to: netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort)}
	relay, current, offered := addr(reply.GatewayIPAddr), addr(reply.ClientIPAddr), addr(reply.YourIPAddr)
	switch {
	case relay.IsValid():
		return route{to: netip.AddrPortFrom(relay, serverPort)}
	case reply.MessageType() == dhcpv4.MessageTypeNak:
		return everyone
	case current.IsValid():
		return route{to: netip.AddrPortFrom(current, clientPort)}
	case reply.IsBroadcast() || !offered.IsValid():
		return everyone
	default:
		return route{to: netip.AddrPortFrom(offered, clientPort), frame: reply.ClientHWAddr}
	}
}

// sender writes replies: through the UDP socket, or as a frame of its own to a
// card whose machine cannot answer ARP yet.
type sender struct {
	udp    *ipv4.PacketConn
	frames *packet.Conn // nil: not allowed to us, broadcast instead
	source netip.Addr
	index  int // of the interface
}

func openFrames(ifi *net.Interface) (*packet.Conn, error) {
	// The filter lets nothing in: this socket only sends.
	refuse, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return nil, err
	}
	return packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: refuse})
}

func (s *sender) send(reply *dhcpv4.DHCPv4) error {
	r := routeOf(reply)
	data := reply.ToBytes()
	if r.frame != nil {
		if s.frames != nil {
			if _, err := s.frames.WriteTo(datagram(s.source, r.to, data), &packet.Addr{HardwareAddr: r.frame}); err == nil {
				return nil
			}
		}
		// Every client tried takes a broadcast reply too, asked for or not.
		r.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort)
	}
	control := &ipv4.ControlMessage{Src: ip(s.source), IfIndex: s.index}
	if _, err := s.udp.WriteTo(data, control, net.UDPAddrFromAddrPort(r.to)); err != nil {
		return fmt.Errorf("send %s to %s: %w", reply.MessageType(), r.to, err)
	}
	return nil
}

// datagram is payload in UDP in IPv4.
func datagram(source netip.Addr, to netip.AddrPort, payload []byte) []byte {
	const ipLen, udpLen = 20, 8
	src, dst := source.As4(), to.Addr().As4()
	b := make([]byte, ipLen+udpLen, ipLen+udpLen+len(payload))
	b[0] = 4<<4 | ipLen/4
	binary.BigEndian.PutUint16(b[2:], uint16(ipLen+udpLen+len(payload)))
	b[8], b[9] = 64, unix.IPPROTO_UDP // TTL, protocol
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipLen]))

	udp := b[ipLen:]
	binary.BigEndian.PutUint16(udp[0:], serverPort)
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(payload)))
	b = append(b, payload...)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(udpLen+len(payload))
	for _, a := range [][4]byte{src, dst} {
		pseudo += uint32(binary.BigEndian.Uint16(a[0:])) + uint32(binary.BigEndian.Uint16(a[2:]))
	}
	sum := checksum(pseudo, b[ipLen:])
	if sum == 0 {
		sum = 0xffff // 0 would say that there is no checksum
	}
	binary.BigEndian.PutUint16(b[ipLen+6:], sum)
	return b
}

// checksum is the internet checksum (RFC 1071) of data, started with sum.
func checksum(sum uint32, data []byte) uint16 {
	for ; len(data) >= 2; data = data[2:] {
		sum += uint32(binary.BigEndian.Uint16(data))
	}
	if len(data) == 1 {
		sum += uint32(data[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
