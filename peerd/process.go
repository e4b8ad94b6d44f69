package peerd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Role is what a process of peerd is to the kernel.
type Role struct {
	Memory   int64 // bytes the Go heap should stay below
	OOMScore int   // -1000: the kernel never kills it for memory
}

// The two processes. Without the engine a machine only gets slower, so it may
// be killed before the root server is.
var (
	RootRole   = Role{Memory: 16 << 20, OOMScore: -1000}
	EngineRole = Role{Memory: 40 << 20, OOMScore: -900}
)

// Harden makes this process fit to be under a machine's root: nothing of it is
// swapped out or dropped, the kernel does not choose it when memory is short,
// it holds no folder, and it is small on machines with many processors. All of
// it is tried; the error names what the kernel refused.
func (r Role) Harden() error {
	debug.SetMemoryLimit(r.Memory)
	debug.SetGCPercent(50)
	runtime.GOMAXPROCS(min(4, runtime.NumCPU())) // each costs memory

	var errs []error
	if err := os.Chdir("/"); err != nil {
		errs = append(errs, err)
	}
	// Without MCL_ONFAULT all the address space that Go reserves would be filled.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		errs = append(errs, fmt.Errorf("lock memory: %w", err))
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(r.OOMScore)), 0); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
