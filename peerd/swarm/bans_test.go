package swarm

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"swarmboot/peerd/announce"
)

func TestBans(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	machine, other := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	b := newBans()
	for i, c := range []struct {
		after time.Duration
		want  bool
	}{
		{0, false},
		{time.Minute, true},
		{time.Minute, false}, // it is banned already
		{2*amnesty + time.Minute, false},
		{3*amnesty + time.Minute, false}, // of two that are so far apart the first doesn't count
		{3*amnesty + 2*time.Minute, true},
	} {
		if got := b.add(machine, begin.Add(c.after)); got != c.want {
			t.Errorf("piece %d: add() = %v; want %v", i, got, c.want)
		}
	}
	b.add(other, begin)
	now := begin.Add(3*amnesty + 3*time.Minute)
	if got := b.list(now); !slices.Equal(got, []netip.Addr{machine}) || !b.has(machine, now) || b.has(other, now) {
		t.Errorf("banned are %v; want %v", got, machine)
	}
	if later := now.Add(amnesty); len(b.list(later)) > 0 || b.has(machine, later) {
		t.Errorf("%v is banned for longer than %v", machine, amnesty)
	}
	for i := range byte(2 * announce.MaxBanned) {
		for range strikes {
			b.add(netip.AddrFrom4([4]byte{10, 78, 0, i}), now)
		}
	}
	if got := b.list(now); len(got) != announce.MaxBanned {
		t.Errorf("%d machines are named; an announce takes %d", len(got), announce.MaxBanned)
	}
}
