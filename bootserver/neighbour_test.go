package bootserver

import (
	"net/netip"
	"testing"
)

func TestFindNeighbour(t *testing.T) {
	const table = `IP address       HW type     Flags       HW address            Mask     Device
10.77.0.50       0x1         0x2         52:54:00:77:00:02     *        server0
10.77.0.5        0x1         0x0         00:00:00:00:00:00     *        server0
10.77.0.5        0x1         0x6         52:54:00:77:00:05     *        server1
`
	for address, want := range map[string]string{"10.77.0.50": m2, "10.77.0.5": "52:54:00:77:00:05", "10.77.0.51": ""} {
		mac, ok := findNeighbour(table, netip.MustParseAddr(address))
		if ok != (want != "") || ok && mac.String() != want {
			t.Errorf("%s has %s, %v; want %q", address, mac, ok, want)
		}
	}
}
