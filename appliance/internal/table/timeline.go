package table

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"
)

// Timeline writes one boot as a table with a bar for each stage, beside the
// median of the last boots of its image; width is that of the screen.
func Timeline(w io.Writer, d fleet.MachineDetail, width int, now time.Time) error {
	fmt.Fprintf(w, "%s  %s  %s  %s", cmp.Or(d.Name, d.MAC), d.MAC, cmp.Or(image(d.MachineStatus), "no image"), standing(d.MachineStatus, now))
	fmt.Fprintln(w)
	if d.Why != "" {
		fmt.Fprintf(w, "%s\n%s\n", d.Why, d.Remedy)
	}
	if d.Boot == nil {
		fmt.Fprintln(w, "no boot of it was seen since the server was started")
		return nil
	}
	fmt.Fprintf(w, "\nboot of %s", d.Boot.Began.Local().Format(time.DateTime))
	if d.Typical != nil {
		fmt.Fprintf(w, " (█), beside the median of %d boots of %s (░)", d.Sample, d.Boot.Image)
	}
	fmt.Fprint(w, "\n\n")

	running := d.Condition == fleet.Booting || d.Condition == fleet.Stuck || d.Condition == fleet.Failed
	var until time.Duration
	if running {
		until = now.Sub(d.Boot.Began)
	}
	own := d.Boot.Spans(until)
	var usual []fleet.Span
	if d.Typical != nil {
		usual = d.Typical.Spans(0)
	}
	end := time.Second
	for _, s := range append(append([]fleet.Span{}, own...), usual...) {
		end = max(end, s.To)
	}
	rows := [][]string{}
	for _, at := range stage.All {
		mine, wasReached := find(own, at)
		median, known := find(usual, at)
		if !wasReached && !known {
			continue
		}
		row := []string{string(at), "", "", "", ""}
		if wasReached {
			row[1] = seconds(mine.From)
			if running || mine != own[len(own)-1] {
				row[2] = seconds(mine.To - mine.From)
			}
		}
		if known && median != usual[len(usual)-1] {
			row[3] = seconds(median.To - median.From)
		}
		row[4] = bar(mine, wasReached, median, known, end, max(width-50, 10))
		if d.Boot.Failed == at {
			row[4] += " failed"
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(w, "%-12s %9s %9s %9s\n", "STAGE", "AT", "TOOK", "MEDIAN")
	for _, r := range rows {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-12s %9s %9s %9s  %s", r[0], r[1], r[2], r[3], r[4]), " "))
	}
	return nil
}

// standing is how a machine fares, in a few words.
func standing(m fleet.MachineStatus, now time.Time) string {
	if m.Stage == "" {
		return string(m.Condition)
	}
	return fmt.Sprintf("%s, at %s for %v", m.Condition, cmp.Or(m.At, m.Stage), now.Sub(m.Since).Truncate(time.Second))
}

func find(spans []fleet.Span, at stage.Stage) (fleet.Span, bool) {
	for _, s := range spans {
		if s.Stage == at {
			return s, true
		}
	}
	return fleet.Span{}, false
}

// bar draws mine over median, both on a scale of width cells from 0 to end.
func bar(mine fleet.Span, wasReached bool, median fleet.Span, known bool, end time.Duration, width int) string {
	cells := []rune(strings.Repeat(" ", width))
	draw := func(s fleet.Span, with rune) {
		first := int(s.From * time.Duration(width) / (end + 1))
		last := int((s.To - 1) * time.Duration(width) / (end + 1))
		for i := first; i <= max(first, last) && i < width; i++ {
			cells[i] = with
		}
	}
	if known {
		draw(median, '░')
	}
	if wasReached {
		draw(mine, '█')
	}
	return strings.TrimRight(string(cells), " ")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// Past writes a line for each boot, the last first.
func Past(w io.Writer, boots []fleet.Timeline) error {
	rows := make([][]string, len(boots))
	for i, b := range boots {
		after := func(s stage.Stage) string {
			if ms, ok := b.Stages[s]; ok {
				return seconds(time.Duration(ms) * time.Millisecond)
			}
			return ""
		}
		end := "did not reach its login"
		if b.Failed != "" {
			end = fmt.Sprintf("failed at %s: %s", b.Failed, b.Reason)
		} else if after(stage.Ready) != "" {
			end = "up"
		}
		rows[i] = []string{b.Began.Local().Format(time.DateTime), b.Image, after(stage.Ready), after(stage.Complete), end}
	}
	return write(w, []string{"BEGAN", "IMAGE", "LOGIN AFTER", "COMPLETE AFTER", "HOW IT ENDED"}, rows)
}
