package dhcp

import (
	"fmt"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Rehearse makes up the first packet of a client, of which MAC, Program,
// Architectures and HTTP count, and returns the offer that it would get on
// network n, decoded for people; address is what leases would give, invalid if
// that is for the pool to say. Where the client would get no answer, the error
// tells why.
func Rehearse(c Client, n Network, address netip.Addr, choose func(Client) (Boot, error)) (string, error) {
	req, err := firstPacket(c)
	if err != nil {
		return "", err
	}
	req, client, err := parse(req.ToBytes())
	if err != nil {
		return "", err
	}
	client.Network = n.Name
	if n.Mode == Off {
		return "", fmt.Errorf("network %s is in mode %s", n.Name, n.Mode)
	}
	boot, err := choose(client)
	if err != nil {
		return "", err
	}
	if n.Mode == Reservations && !boot.Listed {
		return "", fmt.Errorf("network %s is in mode %s, and the machine is not listed", n.Name, n.Mode)
	}
	if n.Mode == Proxy && !boot.boots(client) {
		return "", fmt.Errorf("network %s is in mode %s, and there is nothing for the machine to load", n.Name, n.Mode)
	}
	var reply *dhcpv4.DHCPv4
	if n.Mode == Proxy {
		reply, err = answerBeside(req, client, dhcpv4.MessageTypeOffer, n, boot)
	} else {
		if !address.IsValid() {
			address = n.First
		}
		reply, err = answer(req, client, dhcpv4.MessageTypeOffer, n, address, boot)
	}
	if err != nil {
		return "", err
	}
	return reply.Summary(), nil
}

// firstPacket is a DISCOVER as the kinds of client send it.
func firstPacket(c Client) (*dhcpv4.DHCPv4, error) {
	req, err := dhcpv4.NewDiscovery(c.MAC.HardwareAddr())
	if err != nil {
		return nil, fmt.Errorf("make up a packet of %s: %w", c.MAC, err)
	}
	req.UpdateOption(dhcpv4.OptMaxMessageSize(1472))
	if c.Program == System {
		return req, nil
	}
	class := "PXEClient"
	if c.HTTP {
		class = "HTTPClient"
	}
	var archs []iana.Arch
	for _, a := range c.Architectures {
		archs = append(archs, iana.Arch(a))
	}
	if len(archs) > 0 {
		req.UpdateOption(dhcpv4.OptClientArch(archs...))
		class += fmt.Sprintf(":Arch:%05d:UNDI:003016", c.Architectures[0])
	}
	req.UpdateOption(dhcpv4.OptClassIdentifier(class))
	if c.Program == IPXE {
		req.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")))
		req.UpdateOption(dhcpv4.OptGeneric(etherboot, []byte{19, 1, 1})) // it can fetch by HTTP
	}
	return req, nil
}
