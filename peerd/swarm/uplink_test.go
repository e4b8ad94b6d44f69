package swarm

import (
	"testing"
	"testing/synctest"
	"time"
)

// Who waits to send may when another has sent; and a receiver that takes nothing
// keeps its slot for slotTime only.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUplink()
		ended := make(chan struct{})
		began := time.Now()
		for range sendersAtOnce {
			u.slot(nil, ended)           // and never gives it back
			time.Sleep(time.Millisecond) // so that one ends before the next
		}
		order := make(chan string, 2)
		wait := func(name string) {
			go func() {
				done := u.slot(nil, ended)
				order <- name
				time.Sleep(time.Millisecond)
				done()
			}()
			synctest.Wait()
		}
		wait("first")
		wait("second")
		if len(order) > 0 {
			t.Error("a slot was given while all were taken")
		}
		if got := <-order; got != "first" {
			t.Errorf("%q came first", got)
		}
		if d := time.Since(began); d != slotTime {
			t.Errorf("the first waited %v; want %v", d, slotTime)
		}
		<-order

		close(ended)
		u.slot(nil, ended)() // one who leaves takes no slot along
		time.Sleep(time.Second)
		synctest.Wait()
		if u.free != sendersAtOnce {
			t.Errorf("%d slots are free at the end; want %d", u.free, sendersAtOnce)
		}
	})
}
