package watch

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"swarmboot/appliance/internal/table"
	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// Each condition has a sign and a colour, and neither is needed to tell it: the
// word stands there too.
var (
	signs   = map[fleet.Condition]string{fleet.Failed: "✕", fleet.Stuck: "▲", fleet.Silent: "◌", fleet.Booting: "◐", fleet.Up: "●", fleet.Unseen: "·"}
	colours = map[fleet.Condition]string{fleet.Failed: "31", fleet.Stuck: "33", fleet.Silent: "35", fleet.Booting: "36", fleet.Up: "32", fleet.Unseen: "2"}
)

func paint(colour, text string) string { return "\x1b[" + colour + "m" + text + "\x1b[m" }

const (
	faint   = "2"
	inverse = "7"
	// frame is how many lines stand above and below the machines.
	frame = 5
)

// rows is how many machines the screen has room for.
func (s screen) rows() int { return max(s.height-frame, 1) }

// View draws the screen.
func (s screen) View() tea.View {
	lines := []string{s.counts(), s.saved(), ""}
	if s.open {
		lines = append(lines, s.one()...)
	} else {
		lines = append(lines, s.list()...)
	}
	lines = lines[:min(len(lines), max(s.height-1, 1))]
	for len(lines) < s.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, s.foot())
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, s.width, "…")
	}
	view := tea.NewView(strings.Join(lines, "\n"))
	view.AltScreen = true
	view.WindowTitle = "swarmboot"
	return view
}

// counts tells how many machines fare how.
func (s screen) counts() string {
	n := map[fleet.Condition]int{}
	for _, m := range s.machines {
		n[m.Condition]++
	}
	parts := []string{fmt.Sprintf("%d machines", len(s.machines))}
	for _, c := range urgency {
		if n[c] > 0 {
			parts = append(parts, paint(colours[c], fmt.Sprintf("%s %d %s", signs[c], n[c], c)))
		}
	}
	switch {
	case s.lost != nil:
		parts = append(parts, paint(colours[fleet.Failed], s.lost.Error()+"; trying again"))
	case !s.begun:
		parts = append(parts, "connecting")
	}
	return strings.Join(parts, "   ")
}

// saved tells what the images have cost the server.
func (s screen) saved() string {
	var parts []string
	for _, swarm := range s.swarms {
		parts = append(parts, fmt.Sprintf("%s: %.2f copies sent to %d peers", swarm.Image, swarm.Copies, swarm.Peers))
	}
	return paint(faint, strings.Join(parts, " · "))
}

// list draws the machines around the chosen one.
func (s screen) list() []string {
	const form = "%-9s %-18s %-8s %-20s %-12s %5s %8s  %s"
	lines := []string{paint("1", fmt.Sprintf("  "+form, "CONDITION", "NAME", "RACK", "IMAGE", "STAGE", "HERE", "SINCE", ""))}
	if len(s.shown) == 0 && s.begun {
		return append(lines, "  no machine"+map[bool]string{true: " matches " + s.filter}[s.filter != ""])
	}
	place, rows := s.place(), s.rows()
	first := min(max(place-rows/2, 0), max(len(s.shown)-rows, 0))
	for i, mac := range s.shown[first:min(first+rows, len(s.shown))] {
		m := s.machines[mac]
		here, since := "", ""
		if p := m.Progress; p != nil && p.Pieces > 0 {
			here = fmt.Sprintf("%d%%", p.Have*100/p.Pieces)
		}
		if !m.Since.IsZero() {
			since = short(s.now.Sub(m.Since))
		}
		at := m.Stage
		if at == stage.Failed {
			at = m.At
		}
		line := fmt.Sprintf(form, m.Condition, cut(cmp.Or(m.Name, m.MAC), 18), cut(m.Rack, 8), cut(m.Image, 20), at, here, since, m.Why)
		if first+i == place {
			line = paint(inverse, ansi.Truncate(signs[m.Condition]+" "+line+strings.Repeat(" ", s.width), s.width, ""))
		} else {
			line = paint(colours[m.Condition], signs[m.Condition]) + " " + line
		}
		lines = append(lines, line)
	}
	return lines
}

// one draws the chosen machine: its boot, and what the log says of it.
func (s screen) one() []string {
	if s.detail.err != nil {
		return []string{s.detail.err.Error()}
	}
	if s.detail.detail.MAC == "" {
		return nil
	}
	var text strings.Builder
	table.Timeline(&text, s.detail.detail, s.width, s.now) // a Builder takes everything
	lines := strings.Split(text.String(), "\n")
	room := s.rows() - len(lines)
	log := s.detail.log
	for _, line := range log[max(len(log)-max(room, 0), 0):] {
		lines = append(lines, paint(faint, line.Time.Local().Format(time.TimeOnly))+" "+line.Text)
	}
	return lines
}

func (s screen) foot() string {
	switch {
	case s.typing:
		return "filter: " + s.filter + "▏" + paint(faint, "   enter keeps it, esc drops it")
	case s.open:
		return paint(faint, "↑↓ another machine   enter back to all   q end")
	case s.filter != "":
		return fmt.Sprintf("filter: %s, %d of %d", s.filter, len(s.shown), len(s.machines)) + paint(faint, "   esc drops it   / another   enter look at one   q end")
	}
	return paint(faint, "↑↓ choose   enter look at one   / filter   q end")
}

// short is a duration in few letters.
func short(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Minute:
		return d.Truncate(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

func cut(text string, width int) string { return ansi.Truncate(text, width, "…") }
