package main

import (
	"errors"
	"os"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/watch"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func machineWatchCommand(reach func() (*control.Client, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "watch",
		Short: "Show all machines on the whole screen as they boot",
		Long: `Show all machines on the whole screen as they boot, those that need somebody first,
with what is wrong. It follows the boot server's events, and connects again by
itself when the server was away.

  ↑ ↓         choose a machine
  enter       look at it: its boot beside the usual one, and the last lines of log
  /           show only machines with these words: name, rack, image, stage, ...
  q           end`,
		Example: "  swarmboot machine watch\n  swarmboot machine watch --server https://boot.example.org:8470 --token-file ~/.swarmboot-token",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !term.IsTerminal(int(os.Stdout.Fd())) {
				return errors.New("this is no terminal; 'swarmboot machine list --watch' writes lines")
			}
			client, err := reach()
			if err != nil {
				return err
			}
			if _, err := client.Swarms(cmd.Context()); err != nil { // is it there, does it let us in?
				return err
			}
			return watch.Run(cmd.Context(), client)
		},
	}
}
