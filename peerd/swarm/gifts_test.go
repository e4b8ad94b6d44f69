package swarm

import (
	"net/netip"
	"testing"
	"time"
)

// The seeder gives a piece to one of those who want it at once, and to the
// others when they ask again.
func TestGifts(t *testing.T) {
	g := newGifts(2)
	alice, bob := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		to    netip.Addr
		piece int
		after time.Duration
		want  bool
	}{
		{"the first", alice, 0, 0, false},
		{"its next block", alice, 0, time.Millisecond, false},
		{"another machine", bob, 0, 2 * time.Millisecond, true},
		{"its next block", bob, 0, 3 * time.Millisecond, true},
		{"another piece", bob, 1, 4 * time.Millisecond, false},
		{"in need", bob, 0, 500 * time.Millisecond, false},
		{"later", bob, 1, 2 * time.Second, false},
		{"later, the other", alice, 1, 4 * time.Second, false},
	} {
		if got := g.spared(c.piece, c.to, now.Add(c.after)); got != c.want {
			t.Errorf("%s: spared = %v; want %v", c.name, got, c.want)
		}
	}
}
