package bootserver

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd/announce"
)

// A machine that several others have banned is named, with who says so and what to
// do; until it boots anew.
func TestABannedMachineIsNamed(t *testing.T) {
	s := newLab(t).new(t)
	bad, good := s.site.Load().Machines[0], s.site.Load().Machines[1]
	for address, m := range map[string]Machine{"10.77.0.22": bad, "10.77.0.100": good} {
		mac, _ := dhcp.ToMAC(m.MAC)
		s.dhcp.Learn(mac, netip.MustParseAddr(address))
	}
	s.report(stage.Report{Machine: bad.MAC.String(), Stage: stage.Ready, Image: "lab@1"})
	swarm := [20]byte{'l', 'a', 'b'}
	s.tracker.Open(swarm, netip.MustParseAddrPort("10.77.0.1:6881"))
	now := time.Now()
	ban := func(from string) {
		s.tracker.Announce(announce.Request{
			InfoHash: swarm, Address: netip.MustParseAddrPort(from), Left: 1, Banned: []netip.Addr{netip.MustParseAddr("10.77.0.22")},
		}, now)
		s.suspect(now)
	}
	status := func() fleet.MachineStatus {
		all := s.fleet.List()
		return all[slices.IndexFunc(all, func(m fleet.MachineStatus) bool { return m.Name == bad.Name })]
	}
	ban("10.77.0.100:6881")
	if m := status(); m.Why != "" {
		t.Errorf("one machine alone is believed: %s", m.Why)
	}
	ban("10.77.0.101:6881")
	if m := status(); !strings.Contains(m.Why, "not what was signed, say m3, 10.77.0.101") || !strings.Contains(m.Remedy, "memory") || m.Condition != fleet.Up {
		t.Errorf("it is %s: %q, %q; want both machines and a remedy, while it is up", m.Condition, m.Why, m.Remedy)
	}
	s.report(stage.Report{Machine: bad.MAC.String(), Stage: stage.Script, Image: "lab@1"})
	if m := status(); m.Why != "" {
		t.Errorf("in the next boot it is said: %s", m.Why)
	}
}
