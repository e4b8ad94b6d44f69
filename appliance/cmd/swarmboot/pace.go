package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
)

// A pace says how fast a command goes through machines.
type pace struct {
	atOnce  int           // how many are asked at once
	stagger time.Duration // between one and the next; 0: none
}

// each does one thing to each machine and prints what it says, in the order of
// machines, whichever answers first. One that refuses does not keep the others.
func (p pace) each(cmd *cobra.Command, machines []fleet.MachineStatus, do func(context.Context, fleet.MachineStatus) (said string, err error)) error {
	ctx := cmd.Context()
	type answer struct {
		said string
		err  error
	}
	answers := make([]chan answer, len(machines)) // closed without one: not asked
	for i := range answers {
		answers[i] = make(chan answer, 1)
	}
	go func() {
		free := make(chan struct{}, p.atOnce)
		for i, m := range machines {
			if i > 0 && p.stagger > 0 {
				select {
				case <-time.After(p.stagger):
				case <-ctx.Done():
				}
			}
			free <- struct{}{}
			go func() {
				defer func() { <-free }()
				defer close(answers[i])
				if ctx.Err() != nil {
					return // what is not begun is left
				}
				said, err := do(ctx, m)
				answers[i] <- answer{said, err}
			}()
		}
	}()
	var errs []error
	for i, m := range machines {
		a, asked := <-answers[i]
		name := cmp.Or(m.Name, m.MAC)
		switch {
		case !asked:
		case a.err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", name, a.err))
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", name, a.said)
		}
	}
	return errors.Join(append(errs, context.Cause(ctx))...)
}
