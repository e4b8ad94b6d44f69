package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/inventory"
)

// A Port is what a switch says about itself and the port a card is plugged into.
type Port struct{ Switch, Port string }

// Neighbour waits on a card that is up until its switch tells which port the
// cable is in (LLDP, IEEE 802.1AB); switches do so every half minute.
func Neighbour(ctx context.Context, card string) (Port, error) {
	ifi, err := net.InterfaceByName(card)
	if err != nil {
		return Port{}, fmt.Errorf("listen for the switch: %w", err)
	}
	const ethertype = 0x88cc
	protocol := binary.NativeEndian.Uint16([]byte{ethertype >> 8, ethertype & 0xff})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return Port{}, fmt.Errorf("listen for the switch: %w", err)
	}
	f := os.NewFile(uintptr(fd), "lldp") // so that a deadline can end a read
	defer f.Close()
	// The nearest bridge; cards throw away what nobody has asked for.
	group := unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_MULTICAST, Alen: 6, Address: [8]uint8{0x01, 0x80, 0xc2, 0, 0, 0x0e}}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: ifi.Index}),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &group))
	if err != nil {
		return Port{}, fmt.Errorf("listen for the switch on %s: %w", card, err)
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	frame := make([]byte, 1600)
	for {
		n, err := f.Read(frame)
		if err != nil {
			return Port{}, fmt.Errorf("listen for the switch on %s: %w", card, errors.Join(context.Cause(ctx), err))
		}
		if p, err := parseLLDP(frame[:n]); err == nil {
			return p, nil
		}
	}
}

// TLV types of IEEE 802.1AB section 8.5, and the subtypes whose value is no text.
const (
	tlvEnd, tlvChassis, tlvPort, tlvPortDescription, tlvSystemName = 0, 1, 2, 4, 5

	chassisMAC, chassisAddress = 4, 5
	portMAC, portAddress       = 3, 4
)

var errLLDP = errors.New("no LLDP frame")

// parseLLDP reads the payload of a frame. The switch's name and the port's
// description are for people; where there is none, the identifiers must do.
func parseLLDP(frame []byte) (p Port, err error) {
	var chassis, port, description, name string
	for len(frame) >= 2 {
		head := binary.BigEndian.Uint16(frame)
		kind, length := head>>9, int(head&0x1ff)
		if kind == tlvEnd {
			break
		}
		if len(frame) < 2+length {
			return Port{}, errLLDP
		}
		value := frame[2 : 2+length]
		switch {
		case kind == tlvChassis && length > 1:
			chassis = identifier(value, chassisMAC, chassisAddress)
		case kind == tlvPort && length > 1:
			port = identifier(value, portMAC, portAddress)
		case kind == tlvPortDescription:
			description = inventory.Plain(string(value))
		case kind == tlvSystemName:
			name = inventory.Plain(string(value))
		}
		frame = frame[2+length:]
	}
	if chassis == "" || port == "" {
		return Port{}, errLLDP
	}
	if name == "" {
		name = chassis
	}
	if description != "" && description != port {
		port += " (" + description + ")"
	}
	return Port{Switch: name, Port: port}, nil
}

// identifier reads a value that begins with its subtype.
func identifier(value []byte, mac, address byte) string {
	subtype, value := value[0], value[1:]
	switch {
	case subtype == mac && len(value) == 6:
		return net.HardwareAddr(value).String()
	case subtype == address && len(value) > 1: // address family, then the address
		if a, ok := netip.AddrFromSlice(value[1:]); ok {
			return a.String()
		}
	}
	return inventory.Plain(string(value))
}
