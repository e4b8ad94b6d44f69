package dhcp6

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"swarmboot/bootserver/internal/dhcp"
)

// Rehearse makes up the first packet of a client, of which MAC, Program,
// Architectures and HTTP count, and returns the answer that it would get on
// network n, decoded for people. Of leases it knows nothing: an address from the
// pool is the pool's first. Where the client would get no answer, the error tells
// why.
func Rehearse(c dhcp.Client, n Network, choose func(dhcp.Client) (dhcp.Boot, error)) (string, error) {
	req, client, _, err := read(firstPacket(c).ToBytes(), netip.IPv6Unspecified())
	if err != nil {
		return "", err
	}
	client.Network = n.Name
	boot, err := choose(client)
	if err != nil {
		return "", err
	}
	address, ok := n.Reserved[client.MAC]
	if !ok {
		address = n.First
	}
	return answer(req, client, n, address, boot).Summary(), nil
}

// firstPacket is a SOLICIT as the kinds of client send it.
func firstPacket(c dhcp.Client) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: c.MAC.HardwareAddr()}))
	m.AddOption(&dhcpv6.OptIANA{})
	if c.Program == dhcp.System {
		return m
	}
	var archs []iana.Arch
	for _, a := range c.Architectures {
		archs = append(archs, iana.Arch(a))
	}
	m.AddOption(dhcpv6.OptClientArchType(archs...))
	if c.HTTP {
		m.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: intel, Data: [][]byte{[]byte("HTTPClient")}})
	}
	if c.Program == dhcp.IPXE {
		m.AddOption(&dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte("iPXE")}})
	}
	return m
}
