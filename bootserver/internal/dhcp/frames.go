package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// frameFilter is the filter of what comes to a wire's frames: DHCP replies to
// machines, which other servers send, and with tap also requests to servers.
func frameFilter(tap bool) ([]bpf.RawInstruction, error) {
	request := uint32(serverPort)
	if !tap {
		request = 1 << 16 // no port
	}
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 7},
		bpf.LoadAbsolute{Off: 6, Size: 2}, // fragment offset
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 5},
		bpf.LoadMemShift{Off: 0},          // length of the IP header
		bpf.LoadIndirect{Off: 2, Size: 2}, // destination port
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: clientPort, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: request, SkipTrue: 1},
		bpf.RetConstant{Val: 4096},
		bpf.RetConstant{Val: 0},
	})
}

// overhear reads what the filter lets in.
func (w *wire) overhear(ctx context.Context, s *Server) error {
	buf := make([]byte, 4096)
	for {
		size, from, err := w.frames.ReadFrom(buf)
		if err != nil {
			if err := pause(ctx, err); err != nil {
				return fmt.Errorf("overhear: %w", err)
			}
			continue
		}
		d, ok := parseDatagram(buf[:size])
		n, here := s.networks.Load().on(w.name)
		switch {
		case !ok:
		case d.to.Port() == serverPort:
			s.counters.received.Add(1)
			s.admit(ctx, inbound{
				data: slices.Clone(d.payload), on: w, at: time.Now(),
				from: arrival{ifname: w.name, source: d.source, broadcast: s.networks.Load().broadcasts(d.to.Addr()), port: serverPort},
			})
		case here:
			var mac MAC
			if p, ok := from.(*packet.Addr); ok {
				mac, _ = ToMAC(p.HardwareAddr)
			}
			s.overheardReply(n, d.payload, d.source.Addr(), mac)
		}
	}
}

// pause waits a moment after err if it will pass: a packet socket reports once
// that its interface was switched off, and goes on when it is on again.
func pause(ctx context.Context, err error) error {
	if !errors.Is(err, unix.ENETDOWN) {
		return err
	}
	return wait(ctx, lookAgain)
}

var ethernetBroadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// sendFrame sends a reply to a card, or to all.
func (w *wire) sendFrame(payload []byte, source netip.Addr, r route) error {
	_, err := w.frames.WriteTo(datagram{netip.AddrPortFrom(source, serverPort), r.to, payload}.packet(), &packet.Addr{HardwareAddr: r.frame})
	return err
}

// A datagram is one of UDP over IPv4.
type datagram struct {
	source, to netip.AddrPort
	payload    []byte
}

// packet is the datagram in an IPv4 packet.
func (d datagram) packet() []byte {
	const ipLen, udpLen = 20, 8
	src, dst := d.source.Addr().As4(), d.to.Addr().As4()
	b := make([]byte, ipLen+udpLen, ipLen+udpLen+len(d.payload))
	b[0] = 4<<4 | ipLen/4
	binary.BigEndian.PutUint16(b[2:], uint16(ipLen+udpLen+len(d.payload)))
	b[8], b[9] = 64, unix.IPPROTO_UDP // TTL, protocol
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipLen]))

	udp := b[ipLen:]
	binary.BigEndian.PutUint16(udp[0:], d.source.Port())
	binary.BigEndian.PutUint16(udp[2:], d.to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(d.payload)))
	b = append(b, d.payload...)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(udpLen+len(d.payload))
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

// parseDatagram reads a datagram in an IPv4 packet; ok is false for what is cut off.
func parseDatagram(b []byte) (d datagram, ok bool) {
	const udpLen = 8
	if len(b) < 20 || b[0]>>4 != 4 {
		return d, false
	}
	header := int(b[0]&0xf) * 4
	if header < 20 || len(b) < header+udpLen {
		return d, false
	}
	udp := b[header:]
	length := int(udp[4])<<8 | int(udp[5])
	if length < udpLen || length > len(udp) {
		return d, false
	}
	d.source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), uint16(udp[0])<<8|uint16(udp[1]))
	d.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), uint16(udp[2])<<8|uint16(udp[3]))
	d.payload = udp[udpLen:length]
	return d, true
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
