package dhcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// A MAC is a hardware address as a map key. It alone identifies a machine:
// UUIDs are duplicated in the field, and client identifiers change between the
// stages of one boot (EDK2 sends none, iPXE its MAC, an OS what it likes).
type MAC [6]byte

// HardwareAddr is the same address for package net.
func (m MAC) HardwareAddr() net.HardwareAddr { return m[:] }

// String is lower-case hexadecimal with colons.
func (m MAC) String() string { return m.HardwareAddr().String() }

// MarshalText is String, for leases on disk.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (m *MAC) UnmarshalText(text []byte) error {
	a, err := net.ParseMAC(string(text))
	if err != nil {
		return err
	}
	mac, ok := ToMAC(a)
	if !ok {
		return fmt.Errorf("%s is no Ethernet address", text)
	}
	*m = mac
	return nil
}

// ToMAC converts an Ethernet address; ok is false for every other kind.
func ToMAC(a net.HardwareAddr) (m MAC, ok bool) {
	if len(a) != len(m) {
		return MAC{}, false
	}
	return MAC(a), true
}

// Program is the kind of software that sends the packets.
type Program string

// Programs, in the order in which they run during a boot.
const (
	Firmware Program = "firmware" // the network card's or mainboard's PXE code
	IPXE     Program = "iPXE"     // able to fetch its script by HTTP
	System   Program = "system"   // an operating system, our init included
)

// A Client is what a packet tells about its sender.
type Client struct {
	MAC           MAC
	Program       Program
	Architectures []uint16 // option 93, by IANA's numbers; none if not sent
	HTTP          bool     // it boots by HTTP (option 60) and takes URLs alone
	UUID          string   // as firmware prints it; empty if not sent
	Begins        bool     // the packet is a DISCOVER
	Network       string   // name of the network that it is on
}

// parse reads a packet from the wire and refuses what no DHCP client sends.
func parse(data []byte) (*dhcpv4.DHCPv4, Client, error) {
	req, err := dhcpv4.FromBytes(data)
	if err != nil && len(data) < maxMessage {
		// Old ROMs and some relays leave the End option out.
		if again, errAgain := dhcpv4.FromBytes(append(bytes.Clone(data), dhcpv4.OptionEnd.Code())); errAgain == nil {
			req, err = again, nil
		}
	}
	if err != nil {
		return nil, Client{}, err
	}
	if err := unfold(data, req); err != nil {
		return nil, Client{}, err
	}
	mac, ok := ToMAC(req.ClientHWAddr)
	switch {
	case req.OpCode != dhcpv4.OpcodeBootRequest:
		return nil, Client{}, fmt.Errorf("op code %d is no request", req.OpCode)
	case req.HWType != iana.HWTypeEthernet || !ok || mac == MAC{} || mac[0]&1 != 0:
		return nil, Client{}, fmt.Errorf("hardware type %d with address %q is no Ethernet card", req.HWType, req.ClientHWAddr)
	case !req.Options.Has(dhcpv4.OptionDHCPMessageType):
		return nil, Client{}, errors.New("no DHCP message type (plain BOOTP)")
	}
	return req, classify(req, mac), nil
}

// unfold adds the options that a machine has put into the header's file and
// sname fields for want of room (option 52, RFC 2131 section 4.1).
func unfold(data []byte, req *dhcpv4.DHCPv4) error {
	const sname, file, end = 44, 108, 236
	fields := req.Options.Get(dhcpv4.OptionOptionOverload)
	if len(fields) != 1 {
		return nil
	}
	if fields[0]&1 != 0 {
		req.BootFileName = ""
		if err := req.Options.FromBytes(data[file:end]); err != nil {
			return fmt.Errorf("options in the file field: %w", err)
		}
	}
	if fields[0]&2 != 0 {
		req.ServerHostName = ""
		if err := req.Options.FromBytes(data[sname:file]); err != nil {
			return fmt.Errorf("options in the sname field: %w", err)
		}
	}
	return nil
}

// classify reads the options that PXE, UEFI and iPXE send.
func classify(req *dhcpv4.DHCPv4, mac MAC) Client {
	c := Client{MAC: mac, Program: System, Begins: req.MessageType() == dhcpv4.MessageTypeDiscover}
	class := req.Options.Get(dhcpv4.OptionClassIdentifier)
	c.HTTP = bytes.HasPrefix(class, []byte("HTTPClient"))
	c.Architectures = architectures(req.Options.Get(dhcpv4.OptionClientSystemArchitectureType))
	if c.HTTP || bytes.HasPrefix(class, []byte("PXEClient")) || c.Architectures != nil {
		c.Program = Firmware
	}
	if isIPXE(req) {
		c.Program = IPXE
	}
	if id := req.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(id) == 17 && id[0] == 0 {
		c.UUID = uuid([16]byte(id[1:]))
	}
	return c
}

// isIPXE recognises an iPXE that can fetch a script by HTTP. One that cannot (a
// network card's cut-down build) is firmware to us and gets our own loader;
// since that one can, the chain ends there.
func isIPXE(req *dhcpv4.DHCPv4) bool {
	user := req.Options.Get(dhcpv4.OptionUserClassInformation)
	// iPXE sends plain text, RFC 3004 puts a length before it.
	named := string(user) == "iPXE" || string(user) == "\x04iPXE"
	features := req.Options.Get(etherboot)
	if features == nil {
		return named
	}
	options := dhcpv4.Options{}
	if options.FromBytes(features) != nil {
		return named
	}
	const http = dhcpv4.GenericOptionCode(19)
	return options.Has(http)
}

// etherboot is option 175, the encapsulated options of iPXE.
const etherboot = dhcpv4.GenericOptionCode(175)

// architectures reads option 93, a list of 16-bit numbers.
func architectures(option []byte) (numbers []uint16) {
	for ; len(option) >= 2; option = option[2:] {
		numbers = append(numbers, binary.BigEndian.Uint16(option))
	}
	return numbers
}

// uuid prints the UUID of option 97. Its first three fields are little-endian,
// as in SMBIOS, so that it reads as the firmware's own screens and iPXE have it.
func uuid(b [16]byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b[0:]), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}
