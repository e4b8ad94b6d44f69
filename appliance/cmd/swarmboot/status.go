package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/table"
	"swarmboot/bootserver"
	"swarmboot/bootserver/mirror"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what the running boot server does, and whether its settings are the file's",
		Long: `Tell what the running boot server does: which settings are in force and since
when, why a later version of the file is not, and what of it takes effect after a
restart; its networks; how many machines stand at which stage; which images it
fetches from its origin; and what each image has cost it.

With -o json it is one object with the keys config, networks, machines (by stage),
origin and swarms.

` + reachManual,
		Example: `  swarmboot status
  swarmboot status -o json | jq -r .config.problem`,
		Args: none,
	}
	reach := reachFlags(cmd, stateFlag(cmd))
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		client, err := reach.client()
		if err != nil {
			return err
		}
		s, err := askStatus(cmd.Context(), client)
		if err != nil {
			return err
		}
		if asJSON {
			return encode(cmd.OutOrStdout(), s)
		}
		return s.print(cmd.OutOrStdout(), time.Now())
	})
	return cmd
}

// serverStatus is what status tells.
type serverStatus struct {
	Config   api.Settings               `json:"config"`
	Networks []bootserver.NetworkStatus `json:"networks"`
	Machines map[string]int             `json:"machines"` // by stage; those never heard of by "unseen"
	Origin   mirror.OriginStatus        `json:"origin"`
	Swarms   []bootserver.SwarmStatus   `json:"swarms"`
}

func askStatus(ctx context.Context, client *control.Client) (s serverStatus, err error) {
	if s.Config, err = client.Settings(ctx); err != nil {
		return s, err
	}
	if s.Networks, err = client.Networks(ctx); err != nil {
		return s, err
	}
	if s.Origin, err = client.Origin(ctx); err != nil {
		return s, err
	}
	if s.Swarms, err = client.Swarms(ctx); err != nil {
		return s, err
	}
	machines, err := client.Machines(ctx)
	s.Machines = map[string]int{}
	for _, m := range machines {
		if m.Stage == "" {
			s.Machines["unseen"]++
		} else {
			s.Machines[string(m.Stage)]++
		}
	}
	return s, err
}

func (s serverStatus) print(w io.Writer, now time.Time) error {
	ago := func(t time.Time) string { return now.Sub(t).Truncate(time.Second).String() + " ago" }
	fmt.Fprintf(w, "settings  %s, loaded %s\n", s.Config.File, ago(s.Config.Loaded))
	if s.Config.Problem != "" {
		fmt.Fprintf(w, "          refused %s, the last good ones are in force:\n", ago(s.Config.Refused))
		fmt.Fprintf(w, "          %s\n", strings.ReplaceAll(s.Config.Problem, "\n", "\n          "))
	}
	for _, change := range s.Config.Restart {
		fmt.Fprintf(w, "          takes effect after a restart of the server: %s\n", change)
	}
	fmt.Fprintln(w)
	if err := table.Networks(w, s.Networks); err != nil {
		return err
	}
	for _, n := range s.Networks {
		for _, other := range n.OtherServers {
			if n.Mode == bootserver.Full {
				fmt.Fprintf(w, "network %s: another DHCP server answers too, %s (card %s); stop it, or set the network's mode to proxy or reservations\n", n.Name, other.Address, other.MAC)
			}
		}
	}
	fmt.Fprintln(w)
	if err := table.Stages(w, s.Machines); err != nil {
		return err
	}
	if s.Origin.URL != "" {
		fmt.Fprintf(w, "\norigin    %s\n", s.Origin.URL)
	}
	for _, p := range s.Origin.Pulls {
		fmt.Fprintf(w, "          image %s is being fetched: %s\n", p.Image, p)
	}
	for _, tag := range s.Origin.Tags {
		fmt.Fprintf(w, "          %s\n", tag)
	}
	if len(s.Swarms) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return table.Swarms(w, s.Swarms)
}
