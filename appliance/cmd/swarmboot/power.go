package main

import (
	"context"
	"fmt"
	"slices"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/power"
	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
)

// choose finds the machines that the words of a command name.
type choose func(ctx context.Context, client *control.Client, words []string) ([]fleet.MachineStatus, error)

func machinePowerCommand(reach func() (*control.Client, error)) *cobra.Command {
	return powerCommand(reach, "machine", "NAME|MAC|RANGE...", "r1-n[01-40]", someMachines, completeMachines(reach))
}

func rackCommand() *cobra.Command {
	cmd := group("rack", "Switch whole racks on and off", "Switch whole racks on and off.\n\n"+reachManual, "  swarmboot rack power on r1 --stagger 2s")
	reach := reachFlags(cmd, stateFlag(cmd))
	cmd.AddCommand(powerCommand(reach.client, "rack", "RACK...", "r1", machinesOfRacks, nil))
	return cmd
}

// machinesOfRacks are all in some racks, in the order of their names.
func machinesOfRacks(ctx context.Context, client *control.Client, racks []string) (all []fleet.MachineStatus, err error) {
	list, err := client.Machines(ctx)
	if err != nil {
		return nil, err
	}
	for _, rack := range racks {
		in := slices.Clone(list)
		in = slices.DeleteFunc(in, func(m fleet.MachineStatus) bool { return m.Rack != rack })
		if len(in) == 0 {
			return nil, fmt.Errorf("the boot server knows no machine in a rack %s", rack)
		}
		all = append(all, in...)
	}
	return all, nil
}

func powerCommand(reach func() (*control.Client, error), what, operands, example string, find choose, complete cobra.CompletionFunc) *cobra.Command {
	cmd := group("power", "Switch machines on and off, by IPMI, Redfish or a command",
		"Switch machines on and off, as 'power' in the settings says: through their\nmanagement controllers by IPMI or Redfish, or by a program on the boot server.",
		fmt.Sprintf("  swarmboot %s power status %s\n  swarmboot %s power on %s --network --stagger 2s", what, example, what, example))
	add := func(use, short string, flags func(*cobra.Command, *pace, *bool), do func(ctx context.Context, client *control.Client, mac string, network bool) (string, error)) {
		p, network := pace{atOnce: 16}, false
		sub := &cobra.Command{
			Use: use + " " + operands, Short: short, Long: short + ".\nHow that is done is what 'power' in the settings says.", Args: namedOperands, ValidArgsFunction: complete,
			Example: fmt.Sprintf("  swarmboot %s power %s %s", what, use, example),
			RunE: func(cmd *cobra.Command, words []string) error {
				if p.stagger < 0 {
					return usage(fmt.Errorf("--stagger %v is shorter than none", p.stagger))
				}
				client, err := reach()
				if err != nil {
					return err
				}
				machines, err := find(cmd.Context(), client, words)
				if err != nil {
					return err
				}
				return p.each(cmd, machines, func(ctx context.Context, m fleet.MachineStatus) (string, error) {
					return do(ctx, client, m.MAC, network)
				})
			},
		}
		if flags != nil {
			flags(sub, &p, &network)
		}
		cmd.AddCommand(sub)
	}
	switching := func(a power.Action) func(context.Context, *control.Client, string, bool) (string, error) {
		return func(ctx context.Context, client *control.Client, mac string, network bool) (string, error) {
			return "power " + string(a), client.Switch(ctx, mac, api.Switching{Action: a, Network: network})
		}
	}
	starting := func(cmd *cobra.Command, p *pace, network *bool) {
		cmd.Flags().DurationVar(&p.stagger, "stagger", 0, "`TIME` between one machine and the next, so that they do not draw their inrush current at once")
		cmd.Flags().BoolVar(network, "network", false, "boot from the network card this time, whatever the boot order says")
	}
	add("on", "Switch machines on", starting, switching(power.On))
	add("off", "Switch machines off at once, as by pulling the plug", nil, switching(power.Off))
	add("cycle", "Switch machines off and on again; those that are off, on", starting, switching(power.Cycle))
	add("status", "Tell which machines are on", nil, func(ctx context.Context, client *control.Client, mac string, _ bool) (string, error) {
		p, err := client.Power(ctx, mac)
		return string(p.Power), err
	})
	return cmd
}
