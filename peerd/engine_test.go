package peerd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/peerd/internal/enginelink"
	"swarmboot/peerd/swarm"
)

// TestReserve: what has no engine is reserved at once; an engine that runs is
// asked, and what it does not answer is waited for only so long.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _ := newTestStore(t)
		e := &engine{store: store, elsewhere: map[int]chan struct{}{}}
		expect := func(when string, piece int, want time.Duration) {
			t.Helper()
			begun := time.Now()
			e.Reserve(t.Context(), piece)
			if took := time.Since(begun); took != want {
				t.Errorf("%s: Reserve took %v; want %v", when, took, want)
			}
		}
		after := func(d time.Duration, do func()) { go func() { time.Sleep(d); do() }() }

		expect("before there is an engine", 1, 0)
		if hello := e.begin(enginelink.NewRoot(nil), 1); len(hello.Elsewhere) != 1 || hello.Elsewhere[0] != 1 {
			t.Errorf("the engine is told to leave %v; want piece 1", hello.Elsewhere)
		}
		expect("when the engine does not agree", 2, patience)
		after(time.Millisecond, func() { e.Left([]int{1, 2, 3}) }) // again, and 3 the first time
		expect("when it agrees", 3, time.Millisecond)
		after(time.Second, e.end)
		expect("when it ends", 4, time.Second)
		e.Release(1)
		if hello := e.begin(enginelink.NewRoot(nil), 2); len(hello.Elsewhere) != 3 {
			t.Errorf("the next engine is told to leave %v; want three pieces", hello.Elsewhere)
		}
		ctx, cancel := context.WithCancel(t.Context())
		after(time.Second, cancel)
		e.Reserve(ctx, 5)
	})
}

// TestHasSwarm: what the last engine had says nothing of the next.
func TestHasSwarm(t *testing.T) {
	store, _ := newTestStore(t)
	e := &engine{store: store}
	for range 2 {
		e.begin(enginelink.NewRoot(nil), 1)
		if e.HasSwarm() {
			t.Error("an engine that has met nobody has a swarm")
		}
		e.Stats(swarm.Stats{Peers: 1}, nil)
		if !e.HasSwarm() {
			t.Error("an engine with a peer has no swarm")
		}
		e.end()
		if e.HasSwarm() {
			t.Error("an engine that has ended has a swarm")
		}
	}
}
