package schedule

import (
	"testing"
	"time"
)

// The seeder gives a piece to one of those who want it at once, and to the
// others when they ask again.
func TestGifts(t *testing.T) {
	g := NewGifts[Peer](2)
	for _, c := range []struct {
		name  string
		to    Peer
		piece int
		after time.Duration
		want  string
	}{
		{"the first", alice, 0, 0, "a gift"},
		{"its next block", alice, 0, time.Millisecond, "given"},
		{"another machine", bob, 0, 2 * time.Millisecond, "refused"},
		{"its next block", bob, 0, 3 * time.Millisecond, "refused"},
		{"another piece", bob, 1, 4 * time.Millisecond, "a gift"},
		{"in need", bob, 0, 500 * time.Millisecond, "given"},
		{"later", bob, 1, 2 * time.Second, "given"},
		{"later, the other", alice, 1, 4 * time.Second, "a gift"},
	} {
		got := "refused"
		switch give, begins := g.Give(c.piece, c.to, begin.Add(c.after)); {
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
