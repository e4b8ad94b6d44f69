// Package netup brings up the network of a machine that boots: the NIC that
// the boot server named by its MAC, with the address that DHCP gives.
//
// Up tells the story: find (link.go), carrier (link.go), ask (lease.go),
// configure (configure.go). init is its only caller.
package netup

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
)

// How long each step may take before it is given up with a reason. A switch
// port with spanning tree forwards only after 30 s; a USB NIC shows up late.
const (
	findTimeout    = 45 * time.Second
	carrierTimeout = 45 * time.Second
	tick           = 100 * time.Millisecond
)

// A Setup is what Up works with.
type Setup struct {
	MAC      net.HardwareAddr
	Coldplug func() error                     // loads drivers for the devices that are there now
	Say      func(format string, args ...any) // tells the console
}

// Up returns when the NIC has link, address, routes and name servers. It may be
// called again, after a failure or to ask for another address.
func Up(ctx context.Context, s Setup) (Lease, error) {
	if err := loopback(); err != nil {
		return Lease{}, err
	}
	link, err := find(ctx, s)
	if err != nil {
		return Lease{}, err
	}
	name := link.Attrs().Name
	if err := netlink.LinkSetUp(link); err != nil {
		return Lease{}, fmt.Errorf("set %s up: %w", name, err)
	}
	if err := carrier(ctx, link); err != nil {
		return Lease{}, err
	}
	lease, err := ask(ctx, name)
	if err != nil {
		return Lease{}, err
	}
	return lease, configure(link, lease)
}
