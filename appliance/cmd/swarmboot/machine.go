package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/table"

	"github.com/spf13/cobra"
)

func machineCommand() *cobra.Command {
	cmd := group("machine", "See how far the machines are, and adopt new ones",
		"See how far the machines are, and adopt new ones. The running boot server is asked, over the control socket in its state folder.",
		"  swarmboot machine list --watch")
	folder := stateFlag(cmd)
	client := func() *control.Client { return control.NewClient(folder.Socket()) }
	cmd.AddCommand(machineListCommand(client), machineUnknownCommand(client), machineAdoptCommand(client))
	return cmd
}

func machineListCommand(client func() *control.Client) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the machines: stage, percent of the image, bytes, and why one is stuck",
		Long: `List the machines that the settings file names, or that asked for a boot.

  STAGE        how far it is: dhcp, loader, script, kernel, init, network, discovered,
               swarm, root, switch-root, ready, complete, handed-over, seeding; or failed
  HOT          how much of what a boot reads is here; - where no boot of the
               image was recorded yet
  TOTAL        how much of the image is here
  AT LOGIN     how much of it was here when the machine was ready
  FROM PEERS   bytes that other machines gave
  FROM SERVER  bytes that the boot server gave
  SINCE        how long it has been at this stage
  REASON       why it failed

Below it stands for each image how many copies of it the server has sent.`,
		Example: `  swarmboot machine list
  swarmboot machine list --watch
  swarmboot machine list -o json | jq -r '.[] | select(.stage == "failed") | .name'`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every second, until interrupted; with -o json one array in each line")
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		show := showTable
		if asJSON {
			show = showJSON
		}
		ask := func(ctx context.Context, w io.Writer) error { return show(ctx, client(), w) }
		if watch {
			return table.Live(cmd.Context(), time.Second, os.Stdout, ask)
		}
		return ask(cmd.Context(), cmd.OutOrStdout())
	})
	return cmd
}

func showTable(ctx context.Context, client *control.Client, w io.Writer) error {
	machines, err := client.Machines(ctx)
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

func showJSON(ctx context.Context, client *control.Client, w io.Writer) error {
	machines, err := client.Machines(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(machines)
}
