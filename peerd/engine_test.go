package peerd

import (
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/peerd/internal/enginelink"
	"swarmboot/peerd/swarm"
)

// TestHasSwarm: an engine may be fetching before the root server has heard of its
// first peer; and what the last one had says nothing of the next.
func TestHasSwarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _ := newTestStore(t)
		e := &engine{store: store}
		expect := func(when string, want bool) {
			t.Helper()
			if got := e.HasSwarm(); got != want {
				t.Errorf("%s: HasSwarm = %v; want %v", when, got, want)
			}
		}
		expect("before the first", false)
		e.begin(enginelink.NewRoot(nil), 1)
		expect("at its beginning", true)
		time.Sleep(patience)
		expect("when it has met nobody", false)
		e.Stats(swarm.Stats{Peers: 1})
		expect("when it has a peer", true)
		e.end()
		expect("when it is dead", false)
		e.begin(enginelink.NewRoot(nil), 2)
		time.Sleep(patience)
		expect("when the next has met nobody", false)
	})
}
