package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/table"

	"github.com/spf13/cobra"
)

func machineUnknownCommand(client func() *control.Client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unknown",
		Short: "List the machines that asked for a boot and are not in the settings",
		Long: `List the machines that asked for a boot and are not in the settings file, the
last heard first. Where 'unknown: discover' is set, they tell what they are: maker,
serial number, processors, memory, disks, and the switch port they are plugged
into, if the switch says so by LLDP. -o json has all of it.`,
		Example: `  swarmboot machine unknown
  swarmboot machine unknown -o json | jq '.[] | {mac, serial: .inventory.serial}'`,
		Args: cobra.NoArgs,
	}
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		list, err := client().Strangers(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
		}
		return table.Strangers(cmd.OutOrStdout(), list, time.Now())
	})
	return cmd
}

func machineAdoptCommand(client func() *control.Client) *cobra.Command {
	var a settings.Adoption
	var config string
	cmd := &cobra.Command{
		Use:   "adopt MAC",
		Short: "Write an unknown machine into the settings file",
		Long: `Write the machine MAC into the settings file, below those that are listed; the
rest of the file stays as it is. The file is that of the running server unless
--config names another. It is not touched if there would be a mistake in it then.

The server takes the file up within a few seconds. A machine that waits under
'unknown: discover' then boots what its rack, group and network say.`,
		Example: `  swarmboot machine adopt 52:54:00:77:00:09 --name r1-n09 --rack r1 --group web
  swarmboot machine adopt 52:54:00:77:00:09 --name r1-n09 --config swarmboot.yaml`,
		Args: operand("MAC"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if a.MAC, err = net.ParseMAC(args[0]); err != nil || len(a.MAC) != 6 {
				return fmt.Errorf("%q is no MAC address; want six hex bytes such as 52:54:00:12:34:56", args[0])
			}
			if config == "" {
				if config, err = runningConfig(cmd.Context(), client()); err != nil {
					return fmt.Errorf("which settings file? name it with --config FILE: %w", err)
				}
			}
			if err := settings.Adopt(config, a, offered); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: machine %s added\n", config, a.MAC)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config, "config", "", "settings `FILE` (default that of the running server)")
	flags.StringVar(&a.Name, "name", "", "its host `NAME`")
	flags.StringVar(&a.Rack, "rack", "", "the `RACK` that it stands in")
	flags.StringVar(&a.Group, "group", "", "the `GROUP` that it belongs to")
	flags.StringVar(&a.Network, "network", "", "the `NETWORK` that it boots on")
	flags.StringVar(&a.Address, "address", "", "its own `ADDRESS` (default one from the pool)")
	flags.StringVar(&a.Image, "image", "", "the `IMAGE` that it boots (default that of its group, rack or network)")
	return cmd
}

// runningConfig is the file of the running server.
func runningConfig(ctx context.Context, client *control.Client) (string, error) {
	c, err := client.Config(ctx)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(c.File) {
		return "", fmt.Errorf("the server says %s", c.File)
	}
	return c.File, nil
}
