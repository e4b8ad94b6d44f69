package dhcp6

import (
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"swarmboot/bootserver/internal/dhcp"
)

// intel is the enterprise number of the vendor class that EDK2 sends.
const intel = 343

// confirm builds the reply to a machine that asks whether its addresses still fit
// the link, perhaps carried to another one (RFC 8415 section 18.3.3). Without
// addresses it gets none: nil.
func confirm(req *dhcpv6.Message, n Network) *dhcpv6.Message {
	var asked []*dhcpv6.OptIAAddress
	for _, ia := range req.Options.IANA() {
		asked = append(asked, ia.Options.Addresses()...)
	}
	if len(asked) == 0 {
		return nil
	}
	status := &dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess, StatusMessage: "all addresses fit this link"}
	for _, a := range asked {
		if address, ok := netip.AddrFromSlice(a.IPv6Addr); !ok || !n.Subnet.Contains(address) {
			status = &dhcpv6.OptStatusCode{StatusCode: iana.StatusNotOnLink, StatusMessage: a.IPv6Addr.String() + " is of another link"}
		}
	}
	reply := begin(req, dhcpv6.MessageTypeReply, n)
	reply.AddOption(status)
	return reply
}

// begin is what every answer has.
func begin(req *dhcpv6.Message, kind dhcpv6.MessageType, n Network) *dhcpv6.Message {
	reply := &dhcpv6.Message{MessageType: kind, TransactionID: req.TransactionID}
	if id := req.Options.ClientID(); id != nil {
		reply.AddOption(dhcpv6.OptClientID(id))
	}
	reply.AddOption(dhcpv6.OptServerID(n.duid()))
	return reply
}

// answer builds the reply to req. With an invalid address it says that there is
// none for the machine. Rapid commit is not served: the machine then goes on as
// if it had not asked for it.
func answer(req *dhcpv6.Message, client dhcp.Client, n Network, address netip.Addr, boot dhcp.Boot) *dhcpv6.Message {
	kind := dhcpv6.MessageTypeReply
	if req.MessageType == dhcpv6.MessageTypeSolicit {
		kind = dhcpv6.MessageTypeAdvertise
	}
	reply := begin(req, kind, n)
	switch req.MessageType {
	case dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeRelease:
		return reply
	}
	for i, ia := range req.Options.IANA() {
		if i > 0 {
			address = netip.Addr{} // a machine has one
		}
		reply.AddOption(identity(ia, n, address))
	}
	var dns []net.IP
	for _, a := range n.DNS {
		if a.Is6() {
			dns = append(dns, a.AsSlice())
		}
	}
	if len(dns) > 0 {
		reply.AddOption(dhcpv6.OptDNS(dns...))
	}
	if boot.File != "" {
		reply.AddOption(dhcpv6.OptBootFileURL(boot.File))
		if client.HTTP {
			// HTTP boot takes only an answer that names its class (UEFI 2.10, section 24.7.4).
			reply.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: intel, Data: [][]byte{[]byte("HTTPClient")}})
		}
	}
	return reply
}

// identity answers for one of the machine's identity associations. An address in
// it that is not the one it is to have ends at once (RFC 8415 section 18.3.4).
func identity(asked *dhcpv6.OptIANA, n Network, address netip.Addr) *dhcpv6.OptIANA {
	ia := &dhcpv6.OptIANA{IaId: asked.IaId, T1: n.Lease / 2, T2: n.Lease / 5 * 4}
	if address.IsValid() {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: address.AsSlice(), PreferredLifetime: n.Lease / 5 * 4, ValidLifetime: n.Lease})
	} else {
		ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "no address for this machine"})
	}
	for _, other := range asked.Options.Addresses() {
		if a, ok := netip.AddrFromSlice(other.IPv6Addr); ok && a != address {
			ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: other.IPv6Addr})
		}
	}
	return ia
}
