package swarm

import (
	"sync"
	"time"
)

// turns decides who of a port's connections sends next. If all sent at once,
// each piece would take as long as all together; in turns the first can be
// passed on while the others are still on their way: with turns, eight machines
// had a whole image after 1.05 of the bound, and after 1.14 without. Blocks that
// a read waits for go before others.
type turns struct {
	mu       sync.Mutex
	free     int             // guarded by mu, like all below
	urgent   []chan struct{} // who waits, in order
	ordinary []chan struct{}
}

const (
	// sendersAtOnce keeps a fast link busy while one of them waits for its
	// receiver.
	sendersAtOnce = 4

	// turnTime is after how long the next one sends too: a receiver that takes
	// nothing, or is slow, must not be what others wait for.
	turnTime = 100 * time.Millisecond
)

func newTurns() *turns { return &turns{free: sendersAtOnce} }

// take waits for a turn until ended. done gives it back.
func (t *turns) take(urgent bool, ended <-chan struct{}) (done func()) {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return t.begin()
	}
	granted := make(chan struct{}, 1)
	if urgent {
		t.urgent = append(t.urgent, granted)
	} else {
		t.ordinary = append(t.ordinary, granted)
	}
	t.mu.Unlock()
	select {
	case <-granted:
	case <-ended:
		go func() { <-granted; t.give() }() // it comes within a turnTime of those before
		return func() {}
	}
	return t.begin()
}

// begin starts a turn, which ends by itself.
func (t *turns) begin() (done func()) {
	give := sync.OnceFunc(t.give)
	timer := time.AfterFunc(turnTime, give)
	return func() {
		timer.Stop()
		give()
	}
}

// give lets the next one send.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&t.urgent, &t.ordinary} {
		if len(*queue) > 0 {
			(*queue)[0] <- struct{}{}
			*queue = (*queue)[1:]
			return
		}
	}
	t.free++
}
