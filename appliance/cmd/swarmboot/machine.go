package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/table"

	"github.com/spf13/cobra"
)

func machineCommand() *cobra.Command {
	cmd := group("machine", "See how far the machines are, adopt new ones, roll them back",
		"See how far the machines are, adopt new ones, and have them boot another image\nthan the settings name.\n\n"+reachManual,
		"  swarmboot machine watch\n  swarmboot machine list --server https://boot.example.org:8470 --token-file ~/.swarmboot-token")
	reach := reachFlags(cmd, stateFlag(cmd))
	cmd.AddCommand(machineListCommand(reach.client), machineWatchCommand(reach.client), machineTimelineCommand(reach.client), machineLogCommand(reach.client),
		machineUnknownCommand(reach.client), machineAdoptCommand(reach), machineHostKeysCommand(reach), machinePowerCommand(reach.client),
		machineRebootIntoCommand(reach.client), machineRollbackCommand(reach.client), machineReleaseCommand(reach.client))
	return cmd
}

func machineListCommand(reach func() (*control.Client, error)) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "list [NAME|MAC|RANGE]...",
		Short: "List the machines: stage, percent of the image, bytes, and why one is stuck",
		Long: `List the machines that the settings file names, or that asked for a boot; or of
these the ones that are named, by ranges such as r1-n[01-40] too.

  STAGE        how far it is: dhcp, loader, script, kernel, init, network,
               discovered, swarm, root, switch-root, ready, complete, handed-over,
               seeding; or failed
  HOT          how much of what a boot reads is here; - where no boot of the
               image was recorded yet
  TOTAL        how much of the image is here
  AT LOGIN     how much of it was here when the machine was ready
  FROM PEERS   bytes that other machines gave
  FROM SERVER  bytes that the boot server gave
  SINCE        how long it has been at this stage
  REASON       why it failed, is stuck or silent, or what others say of it

Below it stands for each image how many copies of it the server has sent.`,
		Example: `  swarmboot machine list
  swarmboot machine list r1-n[01-40] --watch
  swarmboot machine list -o json | jq -r '.[] | select(.stage == "failed") | .name'`,
		ValidArgsFunction: completeMachines(reach),
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every second, until interrupted; with -o json one array in each line")
	outputFlag(cmd, func(cmd *cobra.Command, words []string, asJSON bool) error {
		client, err := reach()
		if err != nil {
			return err
		}
		show := showTable
		if asJSON {
			show = showJSON
		}
		ask := func(ctx context.Context, w io.Writer) error { return show(ctx, client, words, w) }
		if watch {
			return table.Live(cmd.Context(), time.Second, os.Stdout, ask)
		}
		return ask(cmd.Context(), cmd.OutOrStdout())
	})
	return cmd
}

func showTable(ctx context.Context, client *control.Client, words []string, w io.Writer) error {
	machines, err := someMachines(ctx, client, words)
	if err != nil {
		return err
	}
	swarms, err := client.Swarms(ctx)
	if err != nil {
		return err
	}
	if err := table.Machines(w, machines); err != nil {
		return err
	}
	if len(swarms) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return table.Swarms(w, swarms)
}

func showJSON(ctx context.Context, client *control.Client, words []string, w io.Writer) error {
	machines, err := someMachines(ctx, client, words)
	if err != nil {
		return err
	}
	return encode(w, machines)
}
