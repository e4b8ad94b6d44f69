package main

import (
	"net/netip"
	"testing"

	"swarmboot/bootserver/fleet"
)

func TestKnownHost(t *testing.T) {
	const key = "ssh-ed25519 AAAA"
	address := netip.MustParseAddr("10.77.0.11")
	for _, c := range []struct {
		machine   fleet.MachineStatus
		key, want string
	}{
		{fleet.MachineStatus{Name: "r1-n01", Address: address}, key, "r1-n01,10.77.0.11 " + key},
		{fleet.MachineStatus{Address: address}, key, "10.77.0.11 " + key},
		{fleet.MachineStatus{Name: "r1-n01"}, "", ""},
		{fleet.MachineStatus{}, key, ""},
	} {
		if got := knownHost(c.machine, c.key); got != c.want {
			t.Errorf("knownHost(%+v) = %q; want %q", c.machine, got, c.want)
		}
	}
}
