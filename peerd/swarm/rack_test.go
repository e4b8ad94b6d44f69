package swarm

import "testing"

func TestInRack(t *testing.T) {
	a, mate, other := newPeerID("rack A"), newPeerID("rack A"), newPeerID("rack B")
	if a == mate {
		t.Error("two machines have one peer id")
	}
	if !inRack(a, mate) || inRack(a, other) {
		t.Errorf("A is in the rack of A: %t, of B: %t; want true, false", inRack(a, mate), inRack(a, other))
	}
	if aria := [20]byte([]byte("A2-1-36-0-0123456789")); !inRack(a, aria) || !inRack(aria, other) {
		t.Error("a program that doesn't tell its rack is far")
	}
}
