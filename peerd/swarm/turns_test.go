package swarm

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// Who waits for a turn gets one when another is over, urgent ones first; and a
// receiver that takes nothing keeps its turn for turnTime only.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		ended := make(chan struct{})
		for range sendersAtOnce {
			turns.take(false, ended) // and never gives it back
		}
		order := make(chan string, 3)
		wait := func(name string, urgent bool) {
			go func() {
				done := turns.take(urgent, ended)
				order <- name
				time.Sleep(time.Millisecond)
				done()
			}()
			synctest.Wait()
		}
		began := time.Now()
		wait("first", false)
		wait("second", false)
		wait("urgent", true)
		if len(order) > 0 {
			t.Error("a turn was given while all were taken")
		}
		if got := <-order; got != "urgent" && got != "first" {
			t.Errorf("%q came first", got)
		}
		if d := time.Since(began); d != turnTime {
			t.Errorf("the first waited %v; want %v", d, turnTime)
		}
		<-order
		<-order

		close(ended)
		turns.take(false, ended)() // one who leaves takes no turn along
		time.Sleep(time.Second)
		if turns.free != sendersAtOnce {
			t.Errorf("%d turns are free at the end; want %d", turns.free, sendersAtOnce)
		}
	})
}

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
