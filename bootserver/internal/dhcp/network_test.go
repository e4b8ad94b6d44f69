package dhcp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// site is a network on a wire, and two behind relays of which the second is
// within the first one's reach only by link selection.
func site() networks {
	var all networks
	for _, n := range []Network{
		{Name: "here", Interface: "eth0", Server: address(1), Subnet: netip.MustParsePrefix("10.77.0.0/24")},
		{Name: "far", Server: address(1), Subnet: netip.MustParsePrefix("10.88.0.0/24")},
		{Name: "farther", Server: address(1), Subnet: netip.MustParsePrefix("10.99.0.0/16")},
	} {
		all = append(all, &network{Network: n})
	}
	return all
}

func TestNetworkOfAPacket(t *testing.T) {
	at := netip.MustParseAddr
	for _, c := range []struct {
		story     string
		relay     netip.Addr // giaddr
		agent     string     // option 82
		selection string     // option 118
		current   netip.Addr // ciaddr
		from      arrival
		want      string // a network, or words of the error
	}{
		{story: "begins on our wire", from: arrival{ifname: "eth0", broadcast: true}, want: "here"},
		{story: "on a wire with no network", from: arrival{ifname: "eth7", broadcast: true}, want: "no network is on interface eth7"},
		{story: "relayed", relay: at("10.88.0.1"), from: arrival{ifname: "eth0"}, want: "far"},
		{story: "relayed from a network that is not in the config", relay: at("10.66.0.1"), from: arrival{ifname: "eth0"}, want: "relay 10.66.0.1 asks for network 10.66.0.1, which is not in the config"},
		{story: "link selection, RFC 3527", relay: at("10.88.0.1"), agent: "\x01\x02p7\x05\x04\x0a\x63\x00\x00", from: arrival{ifname: "eth0"}, want: "farther"},
		{story: "link selection that is cut off", relay: at("10.88.0.1"), agent: "\x05\x04\x0a\x63", from: arrival{ifname: "eth0"}, want: "far"},
		{story: "link selection of another length", relay: at("10.88.0.1"), agent: "\x05\x02\x0a\x63", from: arrival{ifname: "eth0"}, want: "far"},
		{story: "subnet selection, RFC 3011", relay: at("10.88.0.1"), selection: "\x0a\x63\x00\x00", from: arrival{ifname: "eth0"}, want: "farther"},
		{story: "link selection counts more", relay: at("10.88.0.1"), agent: "\x05\x04\x0a\x63\x00\x00", selection: "\x0a\x4d\x00\x00", from: arrival{ifname: "eth0"}, want: "farther"},
		{story: "a machine without a relay cannot choose", selection: "\x0a\x63\x00\x00", agent: "\x05\x04\x0a\x63\x00\x00", from: arrival{ifname: "eth0", broadcast: true}, want: "here"},
		{story: "renews from afar", current: at("10.88.0.7"), from: arrival{ifname: "eth0"}, want: "far"},
		{story: "rebinds on our wire with an old address", current: at("10.88.0.7"), from: arrival{ifname: "eth0", broadcast: true}, want: "here"},
	} {
		req, err := dhcpv4.New()
		if err != nil {
			t.Fatal(err)
		}
		if c.relay.IsValid() {
			req.GatewayIPAddr = ip(c.relay)
		}
		if c.current.IsValid() {
			req.ClientIPAddr = ip(c.current)
		}
		if c.agent != "" {
			req.UpdateOption(dhcpv4.OptGeneric(agentInformation, []byte(c.agent)))
		}
		if c.selection != "" {
			req.UpdateOption(dhcpv4.OptGeneric(subnetSelection, []byte(c.selection)))
		}
		got := ""
		if n, err := site().of(req, c.from); err != nil {
			got = err.Error()
		} else {
			got = n.Name
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: network %q; want %q", c.story, got, c.want)
		}
	}
}

func TestWhereToListen(t *testing.T) {
	nets := site()
	nets = append(nets, &network{Network: Network{Name: "silent", Interface: "eth9", Mode: Off}})
	ports, errs := nets.listening(func(a netip.Addr) (string, error) { return "eth1", nil })
	if len(errs) > 0 || len(ports) != 2 || len(ports["eth0"]) != 1 || len(ports["eth1"]) != 2 {
		t.Errorf("listening = %v, %v; want eth0 for one network and eth1 for the two behind relays", ports, errs)
	}
}

func TestBroadcasts(t *testing.T) {
	for a, want := range map[string]bool{"255.255.255.255": true, "10.77.0.255": true, "10.77.0.1": false, "10.99.255.255": true, "10.88.1.255": false} {
		if got := site().broadcasts(netip.MustParseAddr(a)); got != want {
			t.Errorf("broadcasts(%s) = %v; want %v", a, got, want)
		}
	}
}

func TestIdentityIsWhatTheRelaySays(t *testing.T) {
	for _, c := range []struct{ relay, agent, want string }{
		{"10.88.0.1", "\x0b\x04\x0a\x58\x00\x01", "10.88.0.1"}, // RFC 5107
		{"10.88.0.1", "\x01\x02p7", "10.77.0.1"},
		{"10.88.0.1", "\x0b\x04\x00\x00\x00\x00", "10.77.0.1"},
		{"", "\x0b\x04\x0a\x58\x00\x01", "10.77.0.1"}, // only a relay may say so
	} {
		req, err := dhcpv4.New(dhcpv4.WithOption(dhcpv4.OptGeneric(agentInformation, []byte(c.agent))))
		if err != nil {
			t.Fatal(err)
		}
		if c.relay != "" {
			req.GatewayIPAddr = ip(netip.MustParseAddr(c.relay))
		}
		if got := identity(req, lab); got.String() != c.want {
			t.Errorf("identity with relay %q and option 82 %q = %s; want %s", c.relay, c.agent, got, c.want)
		}
	}
}

func FuzzRelayAgent(f *testing.F) {
	f.Add([]byte("\x01\x02p7\x05\x04\x0a\x63\x00\x00\x0b\x04\x0a\x58\x00\x01\x13\x00"), []byte{10, 77, 0, 0})
	f.Add([]byte("\x05\xff"), []byte{})
	f.Fuzz(func(t *testing.T, agent, selection []byte) {
		req, err := dhcpv4.New()
		if err != nil {
			t.Fatal(err)
		}
		req.GatewayIPAddr = ip(address(3))
		req.UpdateOption(dhcpv4.OptGeneric(agentInformation, agent))
		req.UpdateOption(dhcpv4.OptGeneric(subnetSelection, selection))
		if n, err := site().of(req, arrival{}); err == nil && n == nil {
			t.Error("neither network nor error")
		}
		if !identity(req, lab).IsValid() {
			t.Error("a server without a name")
		}
		reply, err := answer(req, Client{}, dhcpv4.MessageTypeOffer, lab, address(9), Boot{})
		if err != nil {
			return // too long
		}
		again, err := dhcpv4.FromBytes(reply.ToBytes())
		if err != nil || string(again.Options.Get(agentInformation)) != string(agent) {
			t.Errorf("option 82 comes back as %x, %v; want %x", again.Options.Get(agentInformation), err, agent)
		}
	})
}
