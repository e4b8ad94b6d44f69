package netup

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure gives the link what the lease says, in place of what it had.
func configure(link netlink.Link, lease Lease) error {
	name := link.Attrs().Name
	old, err := netlink.AddrList(link, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", name, err)
	}
	address := &netlink.Addr{IPNet: ipNet(lease.Address)}
	for _, a := range old {
		if a.Equal(*address) {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("remove %s from %s: %w", a.IPNet, name, err)
		}
	}
	if err := netlink.AddrReplace(link, address); err != nil {
		return fmt.Errorf("give %s to %s: %w", lease.Address, name, err)
	}
	for _, r := range lease.Routes {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.Net)}
		if r.Via.IsValid() {
			route.Gw = r.Via.AsSlice()
			route.Flags = int(netlink.FLAG_ONLINK) // clouds name routers outside the network
		} else {
			route.Scope = netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s via %s on %s: %w", r.Net, r.Via, name, err)
		}
	}
	if err := os.WriteFile("/etc/resolv.conf", []byte(lease.ResolvConf()), 0o644); err != nil {
		return fmt.Errorf("name servers: %w", err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
