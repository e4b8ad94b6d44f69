package main

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

const longestPause = time.Minute

// backoff is how long to wait after so many failures: doubled each time, and
// spread by a quarter, so that a thousand machines that wait for one server do
// not come at once.
func backoff(failures int) time.Duration {
	pause := longestPause
	if failures < 6 {
		pause = min(pause, time.Second<<failures)
	}
	return pause - pause/4 + rand.N(pause/2)
}

// guard turns a panic into an error: PID 1 must not end.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}
