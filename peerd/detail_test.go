package peerd

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"swarmboot/initramfs/stage"
	"swarmboot/peerd/swarm"
)

func TestRates(t *testing.T) {
	near, far, seeder := netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("10.77.0.3"), netip.MustParseAddr("10.77.0.1")
	var r rates
	begun := time.Now()
	r.peers([]swarm.Connection{{Peer: near, Received: 1000}, {Peer: far, Far: true, Received: 9000}}, begun)
	got := r.peers([]swarm.Connection{
		{Peer: near, Received: 6000, Sent: 500},
		{Peer: far, Far: true, Received: 100}, // it is another connection
		{Peer: seeder, Seeder: true, Received: 50},
	}, begun.Add(5*time.Second))
	want := []stage.Peer{
		{Address: near, Received: 6000, Sent: 500, Down: 1000, Up: 100},
		{Address: far, Far: true, Received: 100},
		{Address: seeder, Server: true, Received: 50},
	}
	if !slices.Equal(got, want) {
		t.Errorf("peers = %+v; want %+v", got, want)
	}
}

// A server takes no report with more peers, and its stage would be lost with it.
func TestPeersAreBounded(t *testing.T) {
	var many []swarm.Connection
	for i := range byte(stage.MaxPeers + 20) {
		many = append(many, swarm.Connection{Peer: netip.AddrFrom4([4]byte{10, 77, 0, i}), Received: int64(i)})
	}
	var r rates
	if got := r.peers(many, time.Now()); len(got) != stage.MaxPeers || got[0].Received != stage.MaxPeers+19 {
		t.Errorf("%d peers, the first with %d bytes; want %d, those that bring most", len(got), got[0].Received, stage.MaxPeers)
	}
}
