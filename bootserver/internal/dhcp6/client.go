package dhcp6

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"swarmboot/bootserver/internal/dhcp"
)

// errNobody says that a packet does not tell which machine it is from.
var errNobody = errors.New("neither the sender's address nor its DUID holds a MAC address")

// read reads a packet and refuses what no machine and no relay sends.
func read(data []byte, from netip.Addr) (*dhcpv6.Message, dhcp.Client, relays, error) {
	packet, err := dhcpv6.FromBytes(data)
	if err != nil {
		return nil, dhcp.Client{}, nil, err
	}
	req, via, err := unpack(packet)
	if err != nil {
		return nil, dhcp.Client{}, nil, err
	}
	duid := req.Options.ClientID()
	if duid == nil && req.MessageType != dhcpv6.MessageTypeInformationRequest {
		return nil, dhcp.Client{}, nil, errors.New("no client identifier")
	}
	mac, ok := via.mac()
	if !ok {
		mac, ok = macOf(via.peer(from), duid)
	}
	if !ok {
		return nil, dhcp.Client{}, nil, errNobody
	}
	return req, classify(req, mac), via, nil
}

// macOf finds the machine. DUIDs change between the stages of one boot (firmware
// has one of its UUID, an OS what it likes), while firmware, iPXE and Linux make
// their link-local address from the MAC (RFC 4291 appendix A).
func macOf(from netip.Addr, duid dhcpv6.DUID) (dhcp.MAC, bool) {
	if b := from.As16(); from.IsLinkLocalUnicast() && b[11] == 0xff && b[12] == 0xfe {
		return dhcp.MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}, true
	}
	switch d := duid.(type) {
	case *dhcpv6.DUIDLL:
		return dhcp.ToMAC(d.LinkLayerAddr)
	case *dhcpv6.DUIDLLT:
		return dhcp.ToMAC(d.LinkLayerAddr)
	}
	return dhcp.MAC{}, false
}

// classify reads the options that UEFI and iPXE send.
func classify(req *dhcpv6.Message, mac dhcp.MAC) dhcp.Client {
	c := dhcp.Client{MAC: mac, Program: dhcp.System, Begins: req.MessageType == dhcpv6.MessageTypeSolicit}
	for _, arch := range req.Options.ArchTypes() {
		c.Architectures = append(c.Architectures, uint16(arch))
	}
	for _, class := range req.Options.VendorClasses() {
		for _, data := range class.Data {
			c.HTTP = c.HTTP || bytes.HasPrefix(data, []byte("HTTPClient"))
		}
	}
	if c.Architectures != nil || c.HTTP {
		c.Program = dhcp.Firmware
	}
	for _, class := range req.Options.UserClasses() {
		if string(class) == "iPXE" {
			c.Program = dhcp.IPXE
		}
	}
	return c
}
