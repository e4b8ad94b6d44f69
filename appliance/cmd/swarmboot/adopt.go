package main

import (
	"fmt"
	"net"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/table"

	"github.com/spf13/cobra"
)

func machineUnknownCommand(reach func() (*control.Client, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unknown",
		Short: "List the machines that asked for a boot and are not in the settings",
		Long: `List the machines that asked for a boot and are not in the settings file, the
last heard first. Where 'unknown: discover' is set, they tell what they are: maker,
serial number, processors, memory, disks, and the switch port they are plugged
into, if the switch says so by LLDP. -o json has all of it.`,
		Example: `  swarmboot machine unknown
  swarmboot machine unknown -o json | jq '.[] | {mac, serial: .inventory.serial}'`,
		Args: none,
	}
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		client, err := reach()
		if err != nil {
			return err
		}
		list, err := client.Strangers(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return encode(cmd.OutOrStdout(), list)
		}
		return table.Strangers(cmd.OutOrStdout(), list, time.Now())
	})
	return cmd
}

func machineAdoptCommand(reach *reach) *cobra.Command {
	var a api.Adoption
	var config string
	cmd := &cobra.Command{
		Use:   "adopt MAC",
		Short: "Write an unknown machine into the settings file",
		Long: `Write the machine MAC into the settings file, below those that are listed; the
rest of the file stays as it is. The running server does it, or with --config FILE
this command. The file is not touched if there would be a mistake in it then.

The server takes the file up within a few seconds. A machine that waits under
'unknown: discover' then boots what its rack, group and network say.`,
		Example: `  swarmboot machine adopt 52:54:00:77:00:09 --name r1-n09 --rack r1 --group web
  swarmboot machine adopt 52:54:00:77:00:09 --name r1-n09 --config swarmboot.yaml`,
		Args: namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			mac, err := net.ParseMAC(args[0])
			if err != nil || len(mac) != 6 {
				return usage(fmt.Errorf("%q is no MAC address; want six hex bytes such as 52:54:00:12:34:56", args[0]))
			}
			a.MAC = mac.String()
			if config != "" {
				err = settings.Adopt(config, settings.Adoption{MAC: mac, Name: a.Name, Rack: a.Rack, Group: a.Group, Network: a.Network, Address: a.Address, Image: a.Image}, offered)
			} else {
				var client *control.Client
				if client, err = reach.client(); err == nil {
					err = client.Adopt(cmd.Context(), a)
				}
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "machine %s is listed\n", a.MAC)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config, "config", "", "settings `FILE` to write into, without a server")
	flags.StringVar(&a.Name, "name", "", "its host `NAME`")
	flags.StringVar(&a.Rack, "rack", "", "the `RACK` that it stands in")
	flags.StringVar(&a.Group, "group", "", "the `GROUP` that it belongs to")
	flags.StringVar(&a.Network, "network", "", "the `NETWORK` that it boots on")
	flags.StringVar(&a.Address, "address", "", "its own `ADDRESS` (default one from the pool)")
	flags.StringVar(&a.Image, "image", "", "the `IMAGE` that it boots (default that of its group, rack or network)")
	return cmd
}
