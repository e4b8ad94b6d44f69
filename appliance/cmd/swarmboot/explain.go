package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver"

	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var q bootserver.Question
	var config string
	cmd := &cobra.Command{
		Use:   "explain NAME|MAC --config FILE",
		Short: "Tell what a machine would get at each step of its boot, and why",
		Long: `Tell what a machine would get at each step of its boot under the settings in FILE,
by its name there or its MAC address, and why: the values that it inherits and the
lines they stand in, the DHCP answers to its firmware and to iPXE, where the network
has IPv6 those of DHCPv6 too, the scripts, and the kernel's arguments.

The functions that answer machines make all of that; no server need run, and
nothing is changed. Of a server that runs it tells too what 'machine reboot-into'
has said. An address from a pool is shown as the pool's first.

Without --arch the machine is a BIOS. The usual numbers, of DHCP option 93, are 0
for BIOS, 7 for UEFI on x86-64 and 11 for UEFI on ARM64; with --http 16 and 19.`,
		Example: `  swarmboot explain 52:54:00:77:00:01 --config swarmboot.yaml
  swarmboot explain 52:54:00:77:00:01 --config swarmboot.yaml --arch 16 --http`,
		Args: namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			if config == "" {
				return usage(errors.New("under which settings? name the file with --config FILE"))
			}
			s, err := settings.Load(config, offered)
			if err != nil {
				return err
			}
			if q.MAC, err = named(s.Machines, args[0]); err != nil {
				return fmt.Errorf("%w in %s", err, config)
			}
			catalogue, err := state.Folder(s.State).Catalogue()
			if err != nil {
				return err
			}
			e, err := bootserver.Explain(s.Config, q, catalogue)
			if err != nil {
				return err
			}
			printExplanation(cmd.OutOrStdout(), config, e, s.Values(q.MAC, e.Network.Name))
			printOverride(cmd.Context(), cmd.OutOrStdout(), control.NewClient(state.Folder(s.State).Socket()), q.MAC.String())
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "settings `FILE`")
	cmd.Flags().Uint16Var(&q.Architecture, "arch", 0, "`NUMBER` of its firmware's architecture")
	cmd.Flags().BoolVar(&q.HTTP, "http", false, "its firmware boots by HTTP")
	cmd.Flags().StringVar(&q.Network, "network", "", "`NAME` of the network that it asks on (default its own)")
	return cmd
}

// named is the MAC address of the machine with that name, or the address itself.
func named(list []bootserver.Machine, word string) (net.HardwareAddr, error) {
	if i := slices.IndexFunc(list, func(m bootserver.Machine) bool { return m.Name == word }); i >= 0 {
		return list[i].MAC, nil
	}
	if mac, err := net.ParseMAC(word); err == nil && len(mac) == 6 {
		return mac, nil
	}
	return nil, fmt.Errorf("%q is no MAC address, and no machine's name", word)
}

func printExplanation(w io.Writer, config string, e bootserver.Explanation, values []settings.Value) {
	m, n := e.Machine, e.Network
	part := func(title, text string) {
		if text != "" {
			fmt.Fprintf(w, "\n%s\n  %s\n", title, strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  "))
		}
	}
	switch {
	case e.Listed:
		fmt.Fprintf(w, "machine %s %s: listed", m.MAC, m.Name)
	default:
		fmt.Fprintf(w, "a machine that is not listed (unknown: %s)", n.Unknown)
	}
	fmt.Fprintf(w, ", on network %s (%v, mode %s), served by %v\n", n.Name, n.Subnet, n.Mode, n.Server)
	var lines []string
	for _, v := range values {
		line := fmt.Sprintf("%s:%d: %s: %s", config, v.Line, v.Path, v.Text)
		if v.Over {
			line += " (overruled below)"
		}
		lines = append(lines, line)
	}
	part("what the settings say it boots, the innermost last", strings.Join(lines, "\n"))
	if e.Refused != "" {
		part("it gets no answer", e.Refused)
		return
	}
	part("DHCP offer to its firmware, "+e.Platform, e.Firmware)
	part("DHCP offer to iPXE", e.IPXE)
	part("DHCPv6 answer to its firmware", e.Firmware6)
	part("DHCPv6 answer to iPXE", e.IPXE6)
	part("it cannot be booted", e.Image)
	part("what GRUB is told", e.GRUB)
	part("what iPXE is told", e.Script)
	part("kernel arguments", e.Kernel)
}

func diffCommand() *cobra.Command {
	var folder state.Folder
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Tell what would change if the running server took up a settings file",
		Long: `Compare the settings file FILE with what the running server has in force, after
everything that machines inherit, and tell what would change for which machines,
and what of it takes a restart of the server. What may hold a secret is not shown:
of a URL the host, of a command the program, of passwords and keys their files.

Nothing is changed. The exit status is 0 whether there are differences or not, and
1 if FILE has mistakes, which are told as check does, or if no server answers.`,
		Example: "  swarmboot diff swarmboot.yaml",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			next, err := settings.Load(args[0], offered)
			if err != nil {
				return err
			}
			if folder == "" {
				folder = state.Folder(next.State)
			}
			now, err := control.NewClient(folder.Socket()).InForce(cmd.Context())
			if err != nil {
				return err
			}
			printDiff(cmd.OutOrStdout(), settings.Diff(now, next.Complete))
			if err := bootserver.NeedsRestart(now.Config, next.Config); err != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "until a restart the server refuses the file as a whole: %v\n", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar((*string)(&folder), "state", "", "state folder `DIR` of the running server (default that of FILE)")
	return cmd
}

func printDiff(w io.Writer, changes []settings.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(w, "nothing would change")
	}
	for _, c := range changes {
		switch {
		case c.Restart:
			fmt.Fprintf(w, "%s (takes a restart of the server)\n", c.What)
		case len(c.Machines) == 0:
			fmt.Fprintln(w, c.What)
		case len(c.Machines) == 1:
			fmt.Fprintf(w, "machine %s: %s\n", c.Machines[0], c.What)
		default:
			fmt.Fprintf(w, "%d machines: %s\n  %s\n", len(c.Machines), c.What, strings.Join(c.Machines, " "))
		}
	}
}
