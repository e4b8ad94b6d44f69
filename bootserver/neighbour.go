package bootserver

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"swarmboot/bootserver/internal/dhcp"
)

// neighbour is the computer that has address on a wire of this host, as the kernel
// knows it by ARP.
func neighbour(address netip.Addr) (dhcp.MAC, bool) {
	table, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		return dhcp.MAC{}, false
	}
	return findNeighbour(string(table), address)
}

// findNeighbour reads a table of proc_net(5): address, type of hardware, flags,
// hardware address, mask, interface.
func findNeighbour(table string, address netip.Addr) (dhcp.MAC, bool) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != address.String() {
			continue
		}
		// One that was asked for and has not answered has zeros.
		if hw, err := net.ParseMAC(fields[3]); err == nil {
			if mac, ok := dhcp.ToMAC(hw); ok && mac != (dhcp.MAC{}) {
				return mac, true
			}
		}
	}
	return dhcp.MAC{}, false
}
