package main

import (
	"context"
	"fmt"
	"io"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/control"
	"swarmboot/bootserver/fleet"
	"swarmboot/images"

	"github.com/spf13/cobra"
)

func machineRebootIntoCommand(reach func() (*control.Client, error)) *cobra.Command {
	var stays bool
	cmd := &cobra.Command{
		Use:   "reboot-into NAME|MAC|RANGE... IMAGE",
		Short: "Have machines boot another image than the settings name, once",
		Long: `Have machines boot IMAGE at their next boot in place of the image that the settings
name, and that one again at the boot after; with --stay at each boot, until
'machine release'. A tag stands for the image that it names now.

No machine is started anew by this: 'machine power cycle' does it, or log in and
reboot it.`,
		Example: "  swarmboot machine reboot-into r1-n07 lab@2 && ssh root@r1-n07 systemctl reboot\n  swarmboot machine reboot-into r1-n[01-04] lab@canary --stay",
		Args:    namedOperands, ValidArgsFunction: completeMachines(reach),
		RunE: func(cmd *cobra.Command, args []string) error {
			words, image := args[:len(args)-1], args[len(args)-1]
			if _, err := images.ParseRef(image); err != nil {
				return usage(err)
			}
			return eachMachine(cmd, reach, words, func(ctx context.Context, client *control.Client, m fleet.MachineStatus) (string, error) {
				o, err := client.Override(ctx, m.MAC, api.Next{Image: image, Stays: stays})
				return nextBoot(o, m), err
			})
		},
	}
	cmd.Flags().BoolVar(&stays, "stay", false, "at each boot, until 'machine release'")
	return cmd
}

func machineRollbackCommand(reach func() (*control.Client, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME|MAC|RANGE...",
		Short: "Have machines boot the image that they ran before",
		Long: `Have machines boot the image that they ran before, from their next boot until
'machine release', whatever the settings name: the last one, other than that of
this boot, with which each has reached its login. 'machine timeline --past' shows
the boots that are remembered.

No machine is started anew by this: 'machine power cycle' does it, or log in and
reboot it.`,
		Example: "  swarmboot machine rollback r1-n[01-40]",
		Args:    namedOperands, ValidArgsFunction: completeMachines(reach),
		RunE: func(cmd *cobra.Command, words []string) error {
			return eachMachine(cmd, reach, words, func(ctx context.Context, client *control.Client, m fleet.MachineStatus) (string, error) {
				o, err := client.Rollback(ctx, m.MAC)
				return nextBoot(o, m), err
			})
		},
	}
}

func machineReleaseCommand(reach func() (*control.Client, error)) *cobra.Command {
	return &cobra.Command{
		Use:     "release NAME|MAC|RANGE...",
		Short:   "Give machines back to the settings, after reboot-into or rollback",
		Long:    "Have machines boot the image that the settings name again, from their next boot on.",
		Example: "  swarmboot machine release r1-n[01-40]",
		Args:    namedOperands, ValidArgsFunction: completeMachines(reach),
		RunE: func(cmd *cobra.Command, words []string) error {
			return eachMachine(cmd, reach, words, func(ctx context.Context, client *control.Client, m fleet.MachineStatus) (string, error) {
				return "boots what the settings name, from its next boot on", client.Release(ctx, m.MAC)
			})
		},
	}
}

// eachMachine does one thing to each machine that words name and prints what it
// says. One that refuses does not keep the others.
func eachMachine(cmd *cobra.Command, reach func() (*control.Client, error), words []string, do func(context.Context, *control.Client, fleet.MachineStatus) (said string, err error)) error {
	client, err := reach()
	if err != nil {
		return err
	}
	machines, err := someMachines(cmd.Context(), client, words)
	if err != nil {
		return err
	}
	return pace{atOnce: 1}.each(cmd, machines, func(ctx context.Context, m fleet.MachineStatus) (string, error) { return do(ctx, client, m) })
}

// nextBoot tells what an override means for a machine.
func nextBoot(o fleet.Override, m fleet.MachineStatus) string {
	said := "boots " + o.Image + " at its next boot, once"
	if o.Stays {
		said = "boots " + o.Image + " from its next boot on, until 'swarmboot machine release'"
	}
	if m.Stage != "" {
		said += "; until it is started anew it runs " + m.Image
	}
	return said
}

// printOverride tells what the running server, if there is one, has for a machine
// besides the settings.
func printOverride(ctx context.Context, w io.Writer, client *control.Client, mac string) {
	d, err := client.Machine(ctx, mac)
	if err != nil || d.Override == nil {
		return
	}
	fmt.Fprintf(w, "\nthe running server has an order for it (machine reboot-into, rollback)\n  it %s\n", nextBoot(*d.Override, d.MachineStatus))
}
