package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/settings"
	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// pick chooses from list the machines that words name, in the order of words:
// each is a name, a MAC address, or a range of names such as r1-n[01-40]. Without
// words it is all.
func pick(list []fleet.MachineStatus, words []string) ([]fleet.MachineStatus, error) {
	if len(words) == 0 {
		return list, nil
	}
	byName := map[string]fleet.MachineStatus{}
	for _, m := range list {
		byName[m.MAC] = m
		if m.Name != "" {
			byName[m.Name] = m
		}
	}
	picked := []fleet.MachineStatus{}
	for _, word := range words {
		names := []string{word}
		if mac, err := net.ParseMAC(word); err == nil {
			names[0] = mac.String()
		} else if names, err = settings.ExpandName(word); err != nil {
			return nil, usage(fmt.Errorf("machines %q: %w", word, err))
		}
		for _, name := range names {
			m, ok := byName[name]
			if !ok {
				return nil, fmt.Errorf("the boot server knows no machine %s; 'swarmboot machine list' shows those that it knows", name)
			}
			picked = append(picked, m)
		}
	}
	return picked, nil
}

// someMachines asks for the machines that words name.
func someMachines(ctx context.Context, client *control.Client, words []string) ([]fleet.MachineStatus, error) {
	list, err := client.Machines(ctx)
	if err != nil {
		return nil, err
	}
	return pick(list, words)
}

// completeMachines offers a shell the machines that the boot server knows.
func completeMachines(ask func() (*control.Client, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, words []string, begun string) ([]string, cobra.ShellCompDirective) {
		client, err := ask()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, _ := client.Machines(cmd.Context())
		var names []string
		for _, m := range list {
			name := cmp.Or(m.Name, m.MAC)
			if strings.HasPrefix(name, begun) && !slices.Contains(words, name) {
				names = append(names, cobra.CompletionWithDesc(name, strings.TrimSpace(m.Rack+" "+string(m.Stage))))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// screenWidth is that of the terminal, or 80.
func screenWidth() int {
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		return width
	}
	return 80
}
