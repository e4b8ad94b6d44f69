package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
)

// A pace says how fast a command goes through machines.
type pace struct {
	atOnce  int           // how many are asked at once
	stagger time.Duration // between one and the next; 0: none
}

// each does one thing to each machine and prints what it says. One that refuses
// does not keep the others.
func (p pace) each(cmd *cobra.Command, machines []fleet.MachineStatus, do func(context.Context, fleet.MachineStatus) (said string, err error)) error {
	ctx := cmd.Context()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error // guarded by mu, as is the output
		free = make(chan struct{}, p.atOnce)
	)
	for i, m := range machines {
		if i > 0 && p.stagger > 0 {
			select {
			case <-time.After(p.stagger):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break // what is not begun is left
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			said, err := do(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			name := cmp.Or(m.Name, m.MAC)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
				return
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", name, said)
		})
	}
	wg.Wait()
	return errors.Join(append(errs, context.Cause(ctx))...)
}
