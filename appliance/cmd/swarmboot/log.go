package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/journal"
	"swarmboot/bootserver/fleet"

	"github.com/spf13/cobra"
)

func machineLogCommand(reach func() (*control.Client, error)) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "log NAME|MAC|RANGE...",
		Short: "Print what the boot server's log says about machines",
		Long: `Print the last lines of the boot server's log about machines, the oldest first. The
running server keeps the last 128 lines about each; what came before its start
stands only where its log is kept, such as in the journal of systemd.`,
		Example: `  swarmboot machine log r1-n07
  swarmboot machine log r1-n[01-40] --follow`,
		Args: namedOperands, ValidArgsFunction: completeMachines(reach),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines, until interrupted")
	outputFlag(cmd, func(cmd *cobra.Command, words []string, asJSON bool) error {
		client, err := reach()
		if err != nil {
			return err
		}
		machines, err := someMachines(cmd.Context(), client, words)
		if err != nil {
			return err
		}
		l := logReader{client: client, machines: machines, asJSON: asJSON, out: cmd.OutOrStdout()}
		for {
			switch err := l.next(cmd.Context()); {
			case cmd.Context().Err() != nil:
				return nil
			case err != nil || !follow:
				return err
			}
			select {
			case <-cmd.Context().Done():
				return nil
			case <-time.After(time.Second):
			}
		}
	})
	return cmd
}

// A logReader prints the lines about some machines, each once.
type logReader struct {
	client   *control.Client
	machines []fleet.MachineStatus
	asJSON   bool
	out      io.Writer
	last     map[string]uint64 // line of each machine, by MAC
}

// logLine is one line in JSON.
type logLine struct {
	Machine string `json:"machine"`
	journal.Line
	name string
}

// next prints what has come since the last call.
func (l *logReader) next(ctx context.Context) error {
	if l.last == nil {
		l.last = map[string]uint64{}
	}
	var news []logLine
	for _, m := range l.machines {
		lines, err := l.client.Log(ctx, m.MAC, l.last[m.MAC])
		if err != nil {
			return err
		}
		for _, line := range lines {
			news = append(news, logLine{m.MAC, line, cmp.Or(m.Name, m.MAC)})
			l.last[m.MAC] = line.Number
		}
	}
	slices.SortFunc(news, func(a, b logLine) int { return cmp.Compare(a.Number, b.Number) })
	for _, line := range news {
		var err error
		if l.asJSON {
			err = encode(l.out, line)
		} else {
			_, err = fmt.Fprintf(l.out, "%s %-5s %s: %s\n", line.Time.Local().Format("2006-01-02 15:04:05.000"), line.Level, line.name, line.Text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
