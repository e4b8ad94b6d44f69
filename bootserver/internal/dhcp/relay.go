package dhcp

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Options of relays. Both come back in the answer.
const (
	agentInformation = dhcpv4.OptionRelayAgentInformation // 82, RFC 3046
	subnetSelection  = dhcpv4.GenericOptionCode(118)      // RFC 3011: an address of the network that is meant
)

// Sub-options of option 82 that change an answer.
const (
	linkSelectionSub = 5  // RFC 3527: as option 118, from the relay
	serverIDSub      = 11 // RFC 5107: machines are to take the relay for the server
	relaySourceSub   = 19 // RFC 8357: the relay wants the answer on the port that it sent from
)

// addressLen is the length of an option that holds one IPv4 address.
const addressLen = 4

// subOption finds a sub-option of option 82. The list is of a relay's making:
// what is cut off is left out.
func subOption(req *dhcpv4.DHCPv4, code byte) (value []byte, ok bool) {
	list := req.Options.Get(agentInformation)
	for len(list) >= 2 {
		end := 2 + int(list[1])
		if end > len(list) {
			return nil, false
		}
		if list[0] == code {
			return list[2:end], true
		}
		list = list[end:]
	}
	return nil, false
}

// linkSelection is the address that stands for the machine's network where giaddr
// does not; invalid if there is none.
func linkSelection(req *dhcpv4.DHCPv4) netip.Addr {
	if value, ok := subOption(req, linkSelectionSub); ok && len(value) == addressLen {
		return addr(value)
	}
	if value := req.Options.Get(subnetSelection); len(value) == addressLen {
		return addr(value)
	}
	return netip.Addr{}
}

// identity is how the server of n names itself to the sender of req.
func identity(req *dhcpv4.DHCPv4, n Network) netip.Addr {
	if value, ok := subOption(req, serverIDSub); ok && addr(req.GatewayIPAddr).IsValid() && len(value) == addressLen && addr(value).IsValid() {
		return addr(value)
	}
	return n.Server
}
