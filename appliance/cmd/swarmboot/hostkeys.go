package main

import (
	"errors"
	"fmt"
	"strings"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
)

func machineHostKeysCommand(reach *reach) *cobra.Command {
	return &cobra.Command{
		Use:   "host-keys",
		Short: "Print the machines' SSH host keys, as ssh wants to know them",
		Long: `Print the public SSH host keys of the machines that have booted, each with the
machine's name and address: the lines of a known_hosts file. The server has made
the keys and keeps them, so they stay the same from boot to boot.`,
		Example: "  swarmboot machine host-keys > /etc/ssh/ssh_known_hosts\n  swarmboot machine host-keys | ssh -o UserKnownHostsFile=/dev/stdin root@r1-n01",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reach.remote() {
				return errors.New("host keys are not told to others; run this on the boot server itself")
			}
			keys, err := bootserver.HostKeys(string(*reach.folder))
			if err != nil {
				return err
			}
			client, err := reach.client()
			if err != nil {
				return err
			}
			machines, err := client.Machines(cmd.Context())
			if err != nil {
				return err
			}
			for _, m := range machines {
				if line := knownHost(m, keys[m.MAC]); line != "" {
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
			}
			return nil
		},
	}
}

// knownHost is a line of a known_hosts file (sshd(8)); empty for a machine
// without a key, or that nobody could ask for.
func knownHost(m fleet.MachineStatus, key string) string {
	var names []string
	if m.Name != "" {
		names = append(names, m.Name)
	}
	if m.Address.IsValid() {
		names = append(names, m.Address.String())
	}
	if key == "" || len(names) == 0 {
		return ""
	}
	return strings.Join(names, ",") + " " + key
}
