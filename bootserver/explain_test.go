package bootserver

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"swarmboot/images"
)

// What is explained is what the machine would get.
func TestExplain(t *testing.T) {
	l := newLab(t)
	listed, stranger := l.Machines[0].MAC, net.HardwareAddr{2, 0, 0, 0, 0, 9}
	ipv6 := func(c *Config) {
		c.Networks[0].Server6, c.Networks[0].Subnet6 = netip.MustParseAddr("fd77::1"), netip.MustParsePrefix("fd77::/64")
		c.Machines[0].Address6 = netip.MustParseAddr("fd77::22")
	}
	for _, c := range []struct {
		name string
		q    Question
		edit func(*Config)
		want func(Explanation) string
		has  string
	}{
		{"the address of a BIOS", Question{MAC: listed}, nil, func(e Explanation) string { return e.Firmware }, "10.77.0.22"},
		{"its loader", Question{MAC: listed}, nil, func(e Explanation) string { return e.Firmware }, "undionly.kpxe"},
		{"the URL of one that boots by HTTP", Question{MAC: listed, Architecture: 16, HTTP: true}, nil, func(e Explanation) string { return e.Firmware }, "http://10.77.0.1/"},
		{"where iPXE finds its script", Question{MAC: listed}, nil, func(e Explanation) string { return e.IPXE }, "http://10.77.0.1/boot.ipxe?mac=" + listed.String()},
		{"the script", Question{MAC: listed}, nil, func(e Explanation) string { return e.Script }, "kernel --name kernel http://10.77.0.1/images/" + l.image.Digest},
		{"the kernel's arguments", Question{MAC: listed}, nil, func(e Explanation) string { return e.Kernel }, "swarmboot.mac=" + listed.String() + " panic=30 console=ttyS0 quiet"},
		{"its address over IPv6", Question{MAC: listed, Architecture: 7}, ipv6, func(e Explanation) string { return e.Firmware6 }, "fd77::22"},
		{"its loader there", Question{MAC: listed, Architecture: 7}, ipv6, func(e Explanation) string { return e.Firmware6 }, "tftp://[fd77::1]/shimx64.efi"},
		{"its URL there", Question{MAC: listed, Architecture: 16, HTTP: true}, ipv6, func(e Explanation) string { return e.Firmware6 }, "http://[fd77::1]/loaders/"},
		{"where iPXE finds its script there", Question{MAC: listed, Architecture: 7}, ipv6, func(e Explanation) string { return e.IPXE6 }, "http://[fd77::1]/boot.ipxe"},
		{"why a stranger gets nothing", Question{MAC: stranger}, nil, func(e Explanation) string { return e.Refused }, "not in the config"},
		{"that a stranger is discovered", Question{MAC: stranger}, func(c *Config) {
			c.Networks[0].Unknown, c.Networks[0].Boot = Discover, Boot{Image: c.Machines[0].Image}
		}, func(e Explanation) string { return e.Kernel }, "swarmboot.discover"},
		{"that a network is off", Question{MAC: listed}, func(c *Config) { c.Networks[0].Mode = Off }, func(e Explanation) string { return e.Refused }, "mode off"},
		{"that there is no loader to tell of beside another server", Question{MAC: listed, Architecture: 27}, func(c *Config) { c.Networks[0].Mode = Proxy },
			func(e Explanation) string { return e.Refused }, "nothing for the machine to load"},
		{"that there is no image", Question{MAC: listed}, func(c *Config) { c.Machines[0].Image = images.Ref{Name: "gone", Version: "1"} }, func(e Explanation) string { return e.Image }, "gone@1"},
	} {
		cfg := l.with(func(cfg *Config) {
			if c.edit != nil {
				c.edit(cfg)
			}
		})
		e, err := Explain(cfg, c.q, l.images)
		if got := c.want(e); err != nil || !strings.Contains(got, c.has) {
			t.Errorf("%s: Explain told %q, %v; want %q in it", c.name, got, err, c.has)
		}
	}
	if e, err := Explain(l.Config, Question{MAC: listed, Architecture: 7}, l.images); err != nil || e.Firmware6+e.IPXE6 != "" {
		t.Errorf("Explain on a network without IPv6 tells %q, %q, %v", e.Firmware6, e.IPXE6, err)
	}
	if _, err := Explain(l.Config, Question{MAC: listed, Network: "cellar"}, l.images); err == nil || !strings.Contains(err.Error(), "cellar") {
		t.Errorf("Explain on a network that is not there = %v", err)
	}
}
