package bootserver

import (
	"net/netip"
	"testing"

	"swarmboot/bootserver/internal/dhcp"
)

// Whatever a machine loads over IPv6 has a URL there, whoever else has one of
// IPv4: a loader that came over IPv6 reaches nothing else.
func TestLoadersOverIPv6StayThere(t *testing.T) {
	l := newLab(t)
	l.Networks[0].Server6, l.Networks[0].Subnet6 = netip.MustParseAddr("fd77::1"), netip.MustParsePrefix("fd77::/64")
	l.Machines[0].Address6 = netip.MustParseAddr("fd77::22")
	s := l.new(t)
	mac, _ := dhcp.ToMAC(l.Machines[0].MAC)
	for want, c := range map[string]dhcp.Client{
		"tftp://[fd77::1]/shimx64.efi":         {Program: dhcp.Firmware, Architectures: []uint16{7}},
		"http://[fd77::1]/loaders/shimx64.efi": {Program: dhcp.Firmware, Architectures: []uint16{16}, HTTP: true},
		"http://[fd77::1]/boot.ipxe?mac=52:54:00:77:00:02&uuid=${uuid}&platform=${platform}&version=${version}": {Program: dhcp.IPXE, Architectures: []uint16{7}},
		"": {Program: dhcp.System},
	} {
		c.MAC, c.Network = mac, "lab"
		if boot, err := (dhcp6Side{dhcpSide{s}}).Choose(c); err != nil || boot.File != want {
			t.Errorf("Choose(%+v) = %q, %v; want %q", c, boot.File, err, want)
		}
	}
	for own, want := range map[string]string{"fd77::1": "http://[fd77::1]", "10.77.0.1": "http://10.77.0.1"} {
		if got := (webSide{s}).Base(l.Machines[0].MAC, netip.MustParseAddr(own)); got != want {
			t.Errorf("a loader that asks at %s is sent to %s; want %s", own, got, want)
		}
	}
	n := s.site.Load().dhcp6Networks()
	if len(n) != 1 || n[0].Reserved[mac] != l.Machines[0].Address6 {
		t.Errorf("networks with IPv6: %+v; want one, with m2's own address", n)
	}
}
