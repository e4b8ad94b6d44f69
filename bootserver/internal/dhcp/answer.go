package dhcp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// maxMessage bounds a DHCP message to what one Ethernet frame carries.
const maxMessage = 1472

// A Boot is what one machine is told.
type Boot struct {
	Name   string // host name; may be empty
	File   string // what to load next: a TFTP name or a URL; empty: nothing
	Listed bool   // the admin has named the machine
}

// boots tells whether there is something in it to load for c.
func (b Boot) boots(c Client) bool { return c.Program != System && b.File != "" }

// asked is the address that a REQUEST wants; invalid if the packet is not for
// this server. RFC 2131 section 4.3.2: a machine that selects names the server
// and the address, one that reboots only the address, and one that renews has
// it in ciaddr.
func asked(req *dhcpv4.DHCPv4, server netip.Addr) netip.Addr {
	if chosen := addr(req.ServerIdentifier()); chosen.IsValid() && chosen != server {
		return netip.Addr{}
	}
	if wanted := addr(req.RequestedIPAddress()); wanted.IsValid() {
		return wanted
	}
	return addr(req.ClientIPAddr)
}

// answer builds the reply of the given type to req. With an invalid address it
// is one without a lease: to an INFORM.
func answer(req *dhcpv4.DHCPv4, client Client, kind dhcpv4.MessageType, n Network, address netip.Addr, boot Boot) (*dhcpv4.DHCPv4, error) {
	reply := newAnswer(req, kind, n)
	addNetwork(reply, n)
	if boot.Name != "" {
		reply.UpdateOption(dhcpv4.OptHostName(boot.Name))
	}
	if address.IsValid() {
		reply.YourIPAddr = ip(address)
		reply.UpdateOption(dhcpv4.OptIPAddressLeaseTime(n.Lease))
		reply.UpdateOption(dhcpv4.OptRenewTimeValue(n.Lease / 2))
		reply.UpdateOption(dhcpv4.OptRebindingTimeValue(n.Lease / 8 * 7))
	} else {
		reply.ClientIPAddr = req.ClientIPAddr
	}
	if boot.File != "" {
		addBoot(reply, client, n.Server, boot.File)
	}
	return reply, fit(req, reply)
}

// answerBeside builds the reply of a server that leaves addresses to another: it
// tells what to boot and nothing else (PXE specification 2.1, section 2.2).
func answerBeside(req *dhcpv4.DHCPv4, client Client, kind dhcpv4.MessageType, n Network, boot Boot) (*dhcpv4.DHCPv4, error) {
	reply := newAnswer(req, kind, n)
	reply.ClientIPAddr = req.ClientIPAddr
	addBoot(reply, client, n.Server, boot.File)
	if !reply.Options.Has(dhcpv4.OptionClassIdentifier) {
		addPXE(reply) // an iPXE, too, takes an offer without an address only from a PXE server
	}
	return reply, fit(req, reply)
}

// newReply is what every reply has. The codec's own function asks the kernel for a
// random number first, for a transaction that already has one.
func newReply(req *dhcpv4.DHCPv4, kind dhcpv4.MessageType, n Network) *dhcpv4.DHCPv4 {
	none := net.IPv4zero.To4()
	reply := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: req.HWType, TransactionID: req.TransactionID, ClientHWAddr: req.ClientHWAddr,
		Flags: req.Flags, GatewayIPAddr: req.GatewayIPAddr, ClientIPAddr: none, YourIPAddr: none, ServerIPAddr: none,
		Options: dhcpv4.Options{},
	}
	reply.UpdateOption(dhcpv4.OptMessageType(kind))
	reply.UpdateOption(dhcpv4.OptServerIdentifier(ip(identity(req, n))))
	// RFC 3046, RFC 6842
	echo(reply, req, agentInformation, dhcpv4.OptionClientIdentifier)
	return reply
}

// echo gives options back as they came.
func echo(reply, req *dhcpv4.DHCPv4, codes ...dhcpv4.OptionCode) {
	for _, code := range codes {
		if value := req.Options.Get(code); value != nil {
			reply.UpdateOption(dhcpv4.OptGeneric(code, value))
		}
	}
}

// newAnswer is what every reply but a refusal has.
func newAnswer(req *dhcpv4.DHCPv4, kind dhcpv4.MessageType, n Network) *dhcpv4.DHCPv4 {
	reply := newReply(req, kind, n)
	reply.ServerIPAddr = ip(n.Server)
	// RFC 4578, RFC 3011
	echo(reply, req, dhcpv4.OptionClientMachineIdentifier, subnetSelection)
	return reply
}

// addNetwork tells what every machine of n is told.
func addNetwork(reply *dhcpv4.DHCPv4, n Network) {
	set := reply.UpdateOption
	set(dhcpv4.OptSubnetMask(net.CIDRMask(n.Subnet.Bits(), 32)))
	set(dhcpv4.OptBroadcastAddress(ip(broadcast(n.Subnet))))
	if n.Router.IsValid() {
		set(dhcpv4.OptRouter(ip(n.Router)))
	}
	if len(n.DNS) > 0 {
		set(dhcpv4.OptDNS(ips(n.DNS)...))
	}
	if len(n.NTP) > 0 {
		set(dhcpv4.OptNTPServers(ips(n.NTP)...))
	}
	if len(n.Log) > 0 {
		set(dhcpv4.Option{Code: dhcpv4.OptionLogServer, Value: dhcpv4.IPs(ips(n.Log))})
	}
	if n.Domain != "" {
		set(dhcpv4.OptDomainName(n.Domain))
		set(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{n.Domain}}))
	}
	if len(n.Routes) > 0 {
		var routes []*dhcpv4.Route
		for _, r := range n.Routes {
			routes = append(routes, staticRoute(r))
		}
		if n.Router.IsValid() { // RFC 3442: who takes option 121 does not look at the router option
			routes = append(routes, staticRoute(Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: n.Router}))
		}
		set(dhcpv4.OptClasslessStaticRoute(routes...))
	}
}

func staticRoute(r Route) *dhcpv4.Route {
	return &dhcpv4.Route{Dest: &net.IPNet{IP: ip(r.To.Addr()), Mask: net.CIDRMask(r.To.Bits(), 32)}, Router: ip(r.Via)}
}

// addBoot tells the same twice, in header fields and in options: old ROMs and
// u-boot read only the header, others only the options.
func addBoot(reply *dhcpv4.DHCPv4, client Client, server netip.Addr, file string) {
	reply.ServerHostName = server.String()
	if len(file) < 128 {
		reply.BootFileName = file
	}
	reply.UpdateOption(dhcpv4.OptTFTPServerName(server.String()))
	if client.Program == IPXE {
		reply.UpdateOption(dhcpv4.OptBootFileName(file))
		// no-pxedhcp (8 bits of 1): do not wait for a proxy DHCP server.
		reply.UpdateOption(dhcpv4.OptGeneric(etherboot, []byte{176, 1, 1}))
		return
	}
	if client.HTTP {
		// Without its own class in the answer the client takes no notice of it.
		reply.UpdateOption(dhcpv4.OptBootFileName(file))
		reply.UpdateOption(dhcpv4.OptClassIdentifier("HTTPClient"))
		return
	}
	// PXE ROMs take the value for a C string.
	reply.UpdateOption(dhcpv4.OptBootFileName(file + "\x00"))
	addPXE(reply)
}

// addPXE says that this is a PXE server's answer, and that it is all of it.
func addPXE(reply *dhcpv4.DHCPv4) {
	reply.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient"))
	// Discovery control 8: use the boot file of this offer. Without it the ROM
	// goes on to ask port 4011.
	reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte{6, 1, 8, 255}))
}

// refuse builds the NAK that makes a machine ask anew.
func refuse(req *dhcpv4.DHCPv4, n Network, reason string) *dhcpv4.DHCPv4 {
	reply := newReply(req, dhcpv4.MessageTypeNak, n)
	reply.UpdateOption(dhcpv4.OptMessage(reason))
	if addr(req.GatewayIPAddr).IsValid() {
		reply.SetBroadcast() // the relay must not ask its ARP table for a refused machine
	}
	return reply
}

// fit takes out what a machine can do without, the least needed first, until
// the reply is as short as the machine asked for in option 57. Without that
// option a machine takes 576 bytes of IP packet. The option is not believed
// beyond one Ethernet frame: EDK2 says 65,280.
func fit(req, reply *dhcpv4.DHCPv4) error {
	const headers = 28 // IP and UDP
	limit := 576 - headers
	if size, err := req.MaxMessageSize(); err == nil {
		limit = min(max(int(size)-headers, limit), maxMessage)
	}
	drop := []dhcpv4.OptionCode{
		dhcpv4.OptionTFTPServerName, dhcpv4.OptionLogServer, dhcpv4.OptionNTPServers, dhcpv4.OptionDNSDomainSearchList,
		dhcpv4.OptionDomainName, dhcpv4.OptionHostName, dhcpv4.OptionDomainNameServer, dhcpv4.OptionClasslessStaticRoute,
	}
	if reply.BootFileName != "" { // the header tells it as well
		drop = append(drop, dhcpv4.OptionBootfileName)
	}
	for _, code := range drop {
		if size(reply) <= limit {
			return nil
		}
		reply.Options.Del(code)
	}
	if n := size(reply); n > limit {
		return fmt.Errorf("answer to %s needs %d bytes, the machine takes %d", req.ClientHWAddr, n, limit)
	}
	return nil
}

// size is how many bytes a message has on the wire.
func size(m *dhcpv4.DHCPv4) int {
	const header, end, least = 240, 1, 300 // the last by RFC 1542, section 2.1
	n := header + end
	for _, value := range m.Options {
		parts := max(1, (len(value)+254)/255) // RFC 3396
		n += 2*parts + len(value)
	}
	return max(n, least)
}

func ip(a netip.Addr) net.IP { return a.AsSlice() }

func ips(list []netip.Addr) []net.IP {
	all := make([]net.IP, len(list))
	for i, a := range list {
		all[i] = ip(a)
	}
	return all
}

// addr is the IPv4 address in a field, invalid if it is absent or 0.0.0.0.
func addr(field net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(field)
	if a = a.Unmap(); !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func broadcast(n netip.Prefix) netip.Addr {
	b := n.Addr().As4()
	for i := n.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
