package lab

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"

	"github.com/dustin/go-humanize"
)

// summary tells what the boots took: for each machine a column with the seconds
// from the stage before to each stage, then what was there at login and where
// the bytes came from; below it what the server sent of each image.
func summary(out io.Writer, machines []fleet.MachineStatus, swarms []bootserver.SwarmStatus) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(fleet.MachineStatus) string) {
		fmt.Fprintf(w, "%s\t", name)
		for _, m := range machines {
			fmt.Fprintf(w, "%s\t", cell(m))
		}
		fmt.Fprintln(w)
	}
	row("seconds to", func(m fleet.MachineStatus) string { return m.Name })
	for _, s := range stage.All {
		if s == stage.Discovered {
			continue // the lab's machines are all known
		}
		row(string(s), func(m fleet.MachineStatus) string { return seconds(m.Times, s) })
	}
	row("login, in all", func(m fleet.MachineStatus) string {
		begun, login := m.Times[first(m.Times)], m.Times[stage.Ready]
		if login.IsZero() {
			return "-"
		}
		return fmt.Sprintf("%.1f", login.Sub(begun).Seconds())
	})
	row("image at login", func(m fleet.MachineStatus) string {
		if p := m.AtReady; p != nil && p.Pieces > 0 {
			return fmt.Sprintf("%d%%", p.Have*100/p.Pieces)
		}
		return "-"
	})
	from := func(name string, bytes func(*stage.Progress) int64) {
		row(name, func(m fleet.MachineStatus) string {
			if m.Progress == nil {
				return "-"
			}
			return humanize.IBytes(uint64(max(0, bytes(m.Progress))))
		})
	}
	from("from peers", func(p *stage.Progress) int64 { return p.FromPeers })
	from("from server", func(p *stage.Progress) int64 { return p.FromServer })
	w.Flush()
	for _, s := range swarms {
		fmt.Fprintf(out, "\nthe server has sent %s of %s's %s: %.2f copies\n",
			humanize.IBytes(uint64(s.SeederBytes+s.HTTPBytes)), s.Image, humanize.IBytes(uint64(s.ImageBytes)), s.Copies)
	}
}

// seconds from the stage that was reached before s until s.
func seconds(times map[stage.Stage]time.Time, s stage.Stage) string {
	at := times[s]
	if at.IsZero() {
		return "-"
	}
	var before time.Time
	for _, other := range times {
		if other.Before(at) && other.After(before) {
			before = other
		}
	}
	if before.IsZero() {
		return "0.0"
	}
	return fmt.Sprintf("%.1f", at.Sub(before).Seconds())
}

// first is the stage that was reached first.
func first(times map[stage.Stage]time.Time) stage.Stage {
	var begun stage.Stage
	for s, at := range times {
		if begun == "" || at.Before(times[begun]) {
			begun = s
		}
	}
	return begun
}
