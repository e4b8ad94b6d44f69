package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/table"
	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
)

func machineTimelineCommand(reach func() (*control.Client, error)) *cobra.Command {
	var past, watch bool
	cmd := &cobra.Command{
		Use:   "timeline NAME|MAC|RANGE...",
		Short: "Show when machines reached each stage of their boot, beside what is usual",
		Long: `Show for each machine when it reached each stage of its last boot, and how long it
was there, beside the median of the last boots of its image on all machines. What
is wrong with a machine that is stuck, and what to do, stands above.

  AT      seconds from the first packet of its firmware until the stage was reached
  TOOK    until the next one was
  MEDIAN  the same in the median of the last boots`,
		Example: `  swarmboot machine timeline r1-n07
  swarmboot machine timeline r1-n07 --past
  swarmboot machine timeline r1-n[01-40] -o json | jq '.boot.stages.ready'`,
		Args: namedOperands, ValidArgsFunction: completeMachines(reach),
	}
	cmd.Flags().BoolVar(&past, "past", false, "show the boots before it too")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every second, until interrupted")
	outputFlag(cmd, func(cmd *cobra.Command, words []string, asJSON bool) error {
		client, err := reach()
		if err != nil {
			return err
		}
		show := func(ctx context.Context, w io.Writer) error {
			machines, err := someMachines(ctx, client, words)
			if err != nil {
				return err
			}
			for i, m := range machines {
				d, err := client.Machine(ctx, m.MAC)
				if err != nil {
					return err
				}
				if asJSON {
					err = encode(w, d)
				} else {
					if i > 0 {
						fmt.Fprintln(w)
					}
					err = printTimeline(w, d, past)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
		if watch {
			return table.Live(cmd.Context(), time.Second, os.Stdout, show)
		}
		return show(cmd.Context(), cmd.OutOrStdout())
	})
	return cmd
}

func printTimeline(w io.Writer, d fleet.MachineDetail, past bool) error {
	if err := table.Timeline(w, d, screenWidth(), time.Now()); err != nil || !past || len(d.Past) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return table.Past(w, d.Past)
}
