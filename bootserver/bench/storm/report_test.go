package storm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A results is all that the bench has measured, in one go or in several.
type results struct {
	Computer string `json:"computer"`
	Runs     []run  `json:"runs"`
}

// readResults reads what was measured before; add replaces it.
func readResults(t *testing.T, folder string) (r results) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder, "storm.json"))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	r.Computer = computer()
	return r
}

func (r *results) add(one run) {
	r.Runs = append(slices.DeleteFunc(r.Runs, func(old run) bool {
		return old.System == one.System && old.Machines == one.Machines && old.Kind == one.Kind && old.Event == one.Event
	}), one)
	slices.SortStableFunc(r.Runs, func(a, b run) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Machines, b.Machines),
			cmp.Compare(place(a.System), place(b.System)))
	})
}

// systems are all, in the order of the tables.
var systems = slices.Concat([]system{ours}, rivals, lazyRivals)

func place(name string) int {
	return slices.IndexFunc(systems, func(s system) bool { return s.name == name })
}

// The three kinds of run, by how long a boot computes in units of W/c: what a
// link needs for the hot pieces.
const (
	wholeImage   = 0
	networkBound = 0.5
	computeBound = 4
)

// of finds the run of a system; false if there was none.
func (r results) of(system string, machines int, kind float64) (run, bool) {
	i := slices.IndexFunc(r.Runs, func(one run) bool {
		return one.System == system && one.Machines == machines && one.Kind == kind && one.Event == "" && one.Failed == ""
	})
	if i < 0 {
		return run{}, false
	}
	return r.Runs[i], true
}

// A goal is what a run of ours has to keep to.
type goal struct {
	text string
	got  float64
	goal float64 // at most
}

// goals are those that the project has set itself, as far as they were measured.
func (r results) goals() (goals []goal) {
	add := func(text string, got, limit float64) { goals = append(goals, goal{text, got, limit}) }
	for _, n := range []int{8, 16, 32} {
		one, ok := r.of(ours.name, n, wholeImage)
		if !ok {
			continue
		}
		add(fmt.Sprintf("whole image, %d machines: last of the bound", n), one.Ratio(), 1.15)
		add(fmt.Sprintf("whole image, %d machines: copies that the server sent", n), one.Copies, 1.1)
		add(fmt.Sprintf("whole image, %d machines: bytes fetched twice, %%", n), 100*one.Twice, 1)
		for _, rival := range rivals {
			if theirs, ok := r.of(rival.name, n, wholeImage); ok && rival.torrent {
				add(fmt.Sprintf("whole image, %d machines: time, of %s's", n, rival.name), one.Last/theirs.Last, 1)
			}
		}
		if theirs, ok := r.of("libtorrent", n, wholeImage); ok && n == 8 {
			add("whole image, 8 machines: CPU time per GB, of libtorrent's", one.CPU/theirs.CPU, 1)
		}
	}
	for _, n := range []int{1, 2, 4, 8, 16, 32} {
		if one, ok := r.of(ours.name, n, networkBound); ok {
			add(fmt.Sprintf("boot, network-bound, %s: last of the bound", count(n)), one.Ratio(), 1.3)
		}
		if one, ok := r.of(ours.name, n, networkBound); ok && n <= 2 {
			if theirs, ok := r.of("nbd", n, networkBound); ok {
				add(fmt.Sprintf("boot, network-bound, %s: time, of nbd's", count(n)), one.Last/theirs.Last, 1.05)
			}
			if theirs, ok := r.of("nginx+curl", n, wholeImage); ok {
				add(fmt.Sprintf("boot, network-bound, %s: time, of what nginx+curl needs until the image can be read", count(n)), one.Last/theirs.Last, 1)
			}
		}
		if one, ok := r.of(ours.name, n, computeBound); ok {
			add(fmt.Sprintf("boot, compute-bound, %d machines: stalls, %% of computing", n), 100*(one.Last-one.Compute)/one.Compute, 5)
		}
	}
	for _, one := range r.Runs {
		if whole, ok := r.of(one.System, one.Machines, one.Kind); ok && one.Event != "" && one.Failed == "" {
			add(one.Event+": time, of the time without", one.Last/whole.Last, 2)
		}
	}
	return goals
}

func count(machines int) string {
	if machines == 1 {
		return "1 machine"
	}
	return fmt.Sprint(machines, " machines")
}

// write leaves table and raw results in a folder.
func (r results) write(t *testing.T, folder string) {
	t.Helper()
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"storm.md": r.table(), "storm.json": string(raw) + "\n", "storm.svg": r.picture()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
	t.Logf("\n%s", r.table())
}

func (r results) table() string {
	var t strings.Builder
	fmt.Fprintf(&t, `# A rack that is switched on at once

Written by `+"`make bench-storm`"+` (%s, %d processors); raw results in storm.json.
An image of %d MiB in pieces of %d KiB, of which a boot reads %d MiB; each machine and the server have cables of
%s Mbit/s in each direction, with 32 machines %s. Each figure is of one run. The package doc of bootserver/bench/storm tells how,
[storm-why.md](storm-why.md) where the time goes.

![time of the last machine, of the bound](storm.svg)

| goal | got | at most | |
|---|---|---|---|
`, r.Computer, runtime.NumCPU(), imageSize>>20, pieceLength>>10, hotPieces*pieceLength>>20, mbit(rateFor(8)), mbit(rateFor(32)))
	for _, g := range r.goals() {
		kept := "pass"
		if g.got > g.goal {
			kept = "**falls short**"
		}
		fmt.Fprintf(&t, "| %s | %.2f | %.2f | %s |\n", g.text, g.got, g.goal, kept)
	}
	r.section(&t, "The whole image", wholeImage, false)
	r.section(&t, "Boot that computes half as long as a link needs for what it reads", networkBound, false)
	t.WriteString("\nA system that can only bring the whole image boots when it is there: to its time above come the seconds of computing.\n")
	r.section(&t, "Boot that computes four times as long", computeBound, false)
	r.section(&t, "The whole image, and something happens", wholeImage, true)
	t.WriteString("\nThe server's copies and what was received in excess are counted on the cables, with protocols and headers. Busy is this\n" +
		"computer, which is all machines, the server and the switch: where it is near 100 %, it may have been the limit and not the\n" +
		"network, or it had other work besides.\n\n## Command lines\n\n")
	for _, s := range systems {
		fmt.Fprintf(&t, "%s\n\n```\n", s.name)
		for _, line := range s.server {
			fmt.Fprintln(&t, "server:  "+line)
		}
		fmt.Fprintln(&t, "machine: "+s.machine+"\n```\n")
	}
	return t.String()
}

// section is a table of the runs of a kind, either of those to which something
// happened or of the others.
func (r results) section(t *strings.Builder, title string, kind float64, events bool) {
	runs := slices.DeleteFunc(slices.Clone(r.Runs), func(one run) bool { return one.Kind != kind || (one.Event != "") != events })
	if len(runs) == 0 {
		return
	}
	fmt.Fprintf(t, "\n## %s\n\n| machines | system | last, s | of the bound | median, s | server's copies | received in excess | CPU s/GB | server's CPU s/GB | memory, MiB | busy | measured on |\n"+
		"|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n", title)
	for _, one := range runs {
		name := one.System
		if events {
			name = one.Event
		}
		fmt.Fprintf(t, "| %d | %s | ", one.Machines, name)
		if one.Failed != "" {
			reason, _, _ := strings.Cut(one.Failed, "\n")
			fmt.Fprintf(t, "none: %s | | | | | | | | | %s |\n", strings.ReplaceAll(reason, "|", " "), one.When)
			continue
		}
		fmt.Fprintf(t, "%.2f | %.2f | %.2f | %.2f | %.1f %% | %.1f | %.1f | %.0f | %.0f %% | %s |\n",
			one.Last, one.Ratio(), one.Median, one.Copies, 100*one.Excess, one.CPU, one.ServerCPU, one.Memory, 100*one.Busy, one.When)
	}
}

func mbit(rate int64) string { return strconv.FormatFloat(float64(rate)/1e6, 'f', -1, 64) }

// computer tells where this runs.
func computer() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// TestReport: what is missed is said.
func TestReport(t *testing.T) {
	r := results{Runs: []run{
		{System: ours.name, Machines: 8, Last: 12, Bound: 10, Copies: 1.05},
		{System: "aria2", Machines: 8, Last: 15, Bound: 10},
	}}
	table := r.table()
	for _, want := range []string{
		"| whole image, 8 machines: last of the bound | 1.20 | 1.15 | **falls short** |",
		"| whole image, 8 machines: time, of aria2's | 0.80 | 1.00 | pass |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}

// picture is bars: how near the last machine of each system comes to the bound,
// which is the line at 1.
func (r results) picture() string {
	var t strings.Builder
	y := 24
	bars := func(title string, kind float64, machines int) {
		first := true
		for _, one := range r.Runs {
			if one.Kind != kind || one.Machines != machines || one.Event != "" || one.Failed != "" {
				continue
			}
			if first {
				fmt.Fprintf(&t, "<text x=\"16\" y=\"%d\" font-weight=\"bold\">%s, %d machines</text>\n", y, title, machines)
				first = false
				y += 8
			}
			colour := "#b8c4d0"
			if one.System == ours.name {
				colour = "#1f4e79"
			}
			width := min(one.Ratio(), 8) * 60
			fmt.Fprintf(&t, "<text x=\"120\" y=\"%d\" text-anchor=\"end\">%s</text><rect x=\"130\" y=\"%d\" width=\"%.0f\" height=\"13\" fill=\"%s\"/><text x=\"%.0f\" y=\"%d\">%.2f</text>\n",
				y+14, one.System, y+3, width, colour, 136+width, y+14, one.Ratio())
			y += 18
		}
		if !first {
			y += 22
		}
	}
	for _, n := range []int{8, 16} {
		bars("the whole image", wholeImage, n)
	}
	for _, n := range []int{1, 2, 4, 8, 16, 32} {
		bars("boot, network-bound", networkBound, n)
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n%s<path d=\"M190 0V%d\" stroke=\"#c33\" stroke-dasharray=\"4\"/>\n</svg>\n", y, &t, y)
}
