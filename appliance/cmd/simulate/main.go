// Simulate plays a hall of machines to a boot server, so that pages, API and
// metrics can be seen and tested with thousands of them on one computer.
//
//	simulate --server ADDRESS --interface NAME --machines N [--boot TIME] [--spread TIME] [--failing F]
//
// Only the machines are made up: they speak DHCP on the interface, fetch their
// scripts and kernels and send their reports over HTTP, each from its own
// address, so the server cannot tell. The computer must route the addresses to
// itself (ip route add local NETWORK dev lo) and leave ARP for them unanswered
// (sysctl net.ipv4.conf.all.arp_ignore=8): the server probes an address first.
//
// Machine n has the MAC address 52:54:00:XX:YY:ZZ with n in the last three
// bytes. Of 1000 machines F fail, are stuck or go silent.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var h hall
	var server string
	flag.StringVar(&server, "server", "10.77.0.1", "`ADDRESS` of the boot server")
	flag.StringVar(&h.card, "interface", "machines0", "network card to send DHCP from")
	flag.IntVar(&h.machines, "machines", 100, "how `many`")
	flag.IntVar(&h.failing, "failing", 8, "how many of `1000` do not get through")
	flag.DurationVar(&h.boot, "boot", time.Minute, "how `long` one takes to its login")
	flag.DurationVar(&h.spread, "spread", 20*time.Second, "they are switched on over this `time`")
	flag.DurationVar(&h.report, "report", time.Second, "`time` between two reports of a machine")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if h.server, err = netip.ParseAddr(server); err == nil {
		err = h.run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

// mac is that of machine n.
func mac(n int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 0, byte(n >> 16), byte(n >> 8), byte(n)}
}
