package schedule

import (
	"testing"
	"time"
)

// The seeder gives a piece to one of those who want it at once, and to the
// others when they ask again, or when that one is silent.
func TestGifts(t *testing.T) {
	g := NewGifts[Peer](2)
	for _, c := range []struct {
		name  string
		to    Peer
		piece int
		after time.Duration
		quiet time.Duration // of the machine that has got it
		want  string
	}{
		{"the first", alice, 0, 0, 0, "a gift"},
		{"its next block", alice, 0, time.Millisecond, 0, "given"},
		{"another machine", bob, 0, 2 * time.Millisecond, 0, "refused"},
		{"its next block", bob, 0, 3 * time.Millisecond, 0, "refused"},
		{"another piece", bob, 1, 4 * time.Millisecond, 0, "a gift"},
		{"another piece, while its owner lives", alice, 1, 300 * time.Millisecond, lifeSign - 1, "refused"},
		{"in need", bob, 0, 500 * time.Millisecond, 0, "given"},
		{"later", bob, 1, 2 * time.Second, 0, "given"},
		{"later, the other", alice, 1, 4 * time.Second, 0, "a gift"},
		{"when its owner is silent", bob, 1, 4*time.Second + lifeSign, lifeSign, "a gift"},
	} {
		got := "refused"
		now := begin.Add(c.after)
		switch give, begins := g.Give(c.piece, c.to, now, func(Peer) time.Time { return now.Add(-c.quiet) }); {
		case begins:
			got = "a gift"
		case give:
			got = "given"
		}
		if got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}
