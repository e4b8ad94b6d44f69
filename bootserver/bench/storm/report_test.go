package storm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"swarmboot/bootserver/bench/bars"
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
		return old.System == one.System && old.Machines == one.Machines && old.Kind == one.Kind && old.Scene == one.Scene
	}), one)
}

// systems are all, in the order of the tables.
var systems = slices.Concat([]system{ours, rackBlind}, rivals, lazyRivals, []system{wire})

func place(name string) int {
	return slices.IndexFunc(systems, func(s system) bool { return s.name == name })
}

// The kinds of run, by how long a boot computes in units of W/c: what a link needs
// for the hot pieces.
const (
	wholeImage      = -1
	computesNothing = 0
	networkBound    = 0.5
	computesToo     = 1
	computeBound    = 4
)

// of finds the run of a system of which nothing is special; false if there was none.
func (r results) of(system string, machines int, kind float64) (run, bool) {
	return r.in("", system, machines, kind)
}

// in finds the run of a system in a scene. One of ours that has failed misses every
// goal; that of a rival is none.
func (r results) in(scene, system string, machines int, kind float64) (run, bool) {
	i := slices.IndexFunc(r.Runs, func(one run) bool {
		return one.System == system && one.Machines == machines && one.Kind == kind && one.Scene == scene && (one.Failed == "" || system == ours.name)
	})
	if i < 0 {
		return run{}, false
	}
	return r.Runs[i].judged(), true
}

// judged is a run as the goals see it: one that has failed took for ever, and all
// that there is.
func (r run) judged() run {
	if r.Failed != "" {
		never := math.Inf(1)
		r.Last, r.Bound, r.Copies, r.Core, r.Twice, r.Slow, r.CPU, r.ServerCPU = never, 1, never, never, never, never, never, never
	}
	return r
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
	var ratios []float64
	for _, n := range []int{1, 2, 4, 8, 16, 32} {
		if one, ok := r.of(ours.name, n, networkBound); ok {
			add(fmt.Sprintf("boot, network-bound, %s: last of the bound", count(n)), one.Ratio(), 1.3)
			ratios = append(ratios, one.Ratio())
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
	if len(ratios) > 1 {
		add("boot, network-bound, with however many machines: the worst, of the best", slices.Max(ratios)/slices.Min(ratios), 1.3)
	}
	for _, one := range r.Runs {
		if one.Scene == "" || one.System != ours.name {
			continue
		}
		one = one.judged()
		what := fmt.Sprintf("%s, %s, %s", one.Scene, kinds[one.Kind], count(one.Machines))
		switch topicOf(one.Scene) {
		case faulty:
			if calm, ok := r.of(ours.name, one.Machines, one.Kind); ok && calm.Failed == "" {
				add(what+": time, of the time without", one.Last/calm.Last, 2)
				if calm.Slow > 0 && one.Scene == dies.name {
					add(what+": the 99th of a hundred reads waits, of the time without", one.Slow/calm.Slow, 1.2)
				}
			}
		case recorded:
			limit := 1.3
			if one.Kind == computeBound {
				limit = 1.05
			}
			add(what+": last of the bound", one.Ratio(), limit)
		case together:
			add(what+": of its own bound", one.Ratio(), 1.2)
		case racked:
			add(what+": bytes into racks, of one copy for each", one.Core, 1.5)
			if blind, ok := r.in(one.Scene, rackBlind.name, one.Machines, one.Kind); ok {
				add(what+": time, of what it is if nobody knows the racks", one.Last/blind.Last, 1)
			}
		case alone:
			if theirs, ok := r.in(one.Scene, "libtorrent", 1, one.Kind); ok && one.Rate == unshaped {
				add(what+": time, of libtorrent's", one.Last/theirs.Last, 1)
				add(what+": CPU time per GB, of libtorrent's", (one.CPU+one.ServerCPU)/(theirs.CPU+theirs.ServerCPU), 1)
			}
			if line, ok := r.in(one.Scene, wire.name, 1, one.Kind); ok && one.Rate != unshaped {
				add(what+": time, of iperf3's", one.Last/line.Last, 1/0.95)
			}
		}
	}
	return goals
}

// kinds are their names.
var kinds = map[float64]string{
	wholeImage:      "whole image",
	computesNothing: "boot that computes nothing",
	networkBound:    "boot, network-bound",
	computesToo:     "boot that computes as long as a link needs",
	computeBound:    "boot, compute-bound",
}

// scenes are all, in the order in which they are measured.
func scenes() (all []scene) {
	for _, p := range parts {
		all = append(all, p.scenes...)
	}
	return all
}

// sceneOf is the place of a scene among all; -1: it is no more.
func sceneOf(name string) int {
	return slices.IndexFunc(scenes(), func(sc scene) bool { return sc.name == name })
}

// topicOf is the topic of a scene.
func topicOf(name string) string {
	if i := sceneOf(name); i >= 0 {
		return scenes()[i].topic
	}
	return ""
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
	slices.SortStableFunc(r.Runs, func(a, b run) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(sceneOf(a.Scene), sceneOf(b.Scene)), cmp.Compare(a.Machines, b.Machines),
			cmp.Compare(place(a.System), place(b.System)))
	})
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	svg, err := r.picture()
	if err := errors.Join(err, os.MkdirAll(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"storm.md": r.table(), "storm.json": string(raw) + "\n", "storm.svg": svg} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func (r results) table() string {
	var t strings.Builder
	fmt.Fprintf(&t, `# A rack that is switched on at once

Written by `+"`make bench-storm`"+` (%s, %d processors); raw results in storm.json.
An image of %d MiB in pieces of %d KiB, of which a boot reads %d MiB; each machine and the server have cables of
%s Mbit/s in each direction, with 32 machines %s. Each figure is of one run. The package doc of bootserver/bench/storm tells how,
[storm-why.md](storm-why.md) where the time goes.

![time of the last machine, of the bound](storm.svg)

%s`, r.Computer, runtime.NumCPU(), usual.size>>20, usual.pieceLength>>10, usual.hotBytes()>>20, mbit(rateFor(8)), mbit(rateFor(32)), r.scores())
	calm := func(kind float64) []run {
		return r.choose(func(one run) bool { return one.Scene == "" && one.Kind == kind })
	}
	section(&t, "The whole image", calm(wholeImage))
	section(&t, "Boot that computes half as long as a link needs for what it reads", calm(networkBound))
	t.WriteString("\nA system that can only bring the whole image boots when it is there: to its time above come the seconds of computing.\n")
	section(&t, "Boot that computes four times as long", calm(computeBound))
	for _, topic := range topics {
		section(&t, topic, r.choose(func(one run) bool { return one.Scene != "" && topicOf(one.Scene) == topic }))
	}
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

// scores tells of each goal whether it is kept.
func (r results) scores() string {
	var t strings.Builder
	t.WriteString("| goal | got | at most | |\n|---|---|---|---|\n")
	for _, g := range r.goals() {
		got, kept := fmt.Sprintf("%.2f", g.got), "pass"
		if math.IsInf(g.got, 0) || math.IsNaN(g.got) {
			got = "no result"
		}
		if !(g.got <= g.goal) { // as a figure that is none is not
			kept = "**falls short**"
		}
		fmt.Fprintf(&t, "| %s | %s | %.2f | %s |\n", g.text, got, g.goal, kept)
	}
	return t.String()
}

func (r results) choose(those func(one run) bool) (some []run) {
	for _, one := range r.Runs {
		if those(one) {
			some = append(some, one)
		}
	}
	return some
}

// A column of the tables; one that says nothing of any run is left out.
var columns = []struct {
	name string
	cell func(one run) string
}{
	{"machines", func(one run) string { return strconv.Itoa(one.Machines) }},
	{"system", func(one run) string { return one.System }},
	{"", func(one run) string { return one.Scene }},
	{"", func(one run) string { return unless(one.Scene == "", kinds[one.Kind]) }},
	{"last, s", func(one run) string { return figure(one.Last, 2) }},
	{"of the bound", func(one run) string { return figure(one.Ratio(), 2) }},
	{"median, s", func(one run) string { return figure(one.Median, 2) }},
	{"MB/s", func(one run) string { return unless(one.Machines > 1, figure(float64(one.Need)/one.Last/1e6, 1)) }},
	{"server's copies", func(one run) string { return figure(one.Copies, 2) }},
	{"into racks, of a copy for each", func(one run) string { return figure(one.Core, 2) }},
	{"received in excess", func(one run) string { return fmt.Sprintf("%.1f %%", 100*one.Excess) }},
	{"of 100 reads the 99th waits, s", func(one run) string { return figure(one.Slow, 2) }},
	{"CPU s/GB", func(one run) string { return figure(one.CPU, 1) }},
	{"server's CPU s/GB", func(one run) string { return figure(one.ServerCPU, 1) }},
	{"memory, MiB", func(one run) string { return figure(one.Memory, 0) }},
	{"busy", func(one run) string { return fmt.Sprintf("%.0f %%", 100*one.Busy) }},
	{"measured on", func(one run) string { return one.When }},
}

// figure is a number with so many decimals; 0 means that there is none.
func figure(x float64, decimals int) string {
	return unless(x == 0, strconv.FormatFloat(x, 'f', decimals, 64))
}

func unless(empty bool, text string) string {
	if empty {
		return ""
	}
	return text
}

// section is a table of runs.
func section(t *strings.Builder, title string, runs []run) {
	if len(runs) == 0 {
		return
	}
	fmt.Fprintf(t, "\n## %s\n", title)
	lines := make([]string, len(runs)+2)
	for _, c := range columns {
		cells := []string{c.name, "--:"}
		if slices.Contains(words, c.name) {
			cells[1] = "---"
		}
		for _, one := range runs {
			cells = append(cells, unless(one.Failed != "" && c.name != "machines" && !slices.Contains(words, c.name), c.cell(one)))
		}
		if strings.Join(cells[2:], "") != "" {
			for i, cell := range cells {
				lines[i] += "| " + cell + " "
			}
		}
	}
	fmt.Fprintf(t, "\n%s|\n", strings.Join(lines, "|\n"))
	for _, one := range runs {
		if one.Failed != "" {
			reason, _, _ := strings.Cut(one.Failed, "\n")
			fmt.Fprintf(t, "\n%s, %s: no result: %s\n", one.System, count(one.Machines), reason)
		}
	}
}

// words are the columns without numbers.
var words = []string{"system", "", "measured on"}

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
		{System: ours.name, Machines: 8, Kind: wholeImage, Last: 12, Bound: 10, Copies: 1.05},
		{System: "aria2", Machines: 8, Kind: wholeImage, Last: 15, Bound: 10},
		{System: ours.name, Machines: 8, Kind: networkBound, Last: 11, Bound: 10},
		{System: ours.name, Machines: 8, Kind: networkBound, Scene: dies.name, Failed: "it was not ready"},
		{System: ours.name, Machines: 16, Kind: networkBound, Failed: "it was not ready"},
	}}
	table := r.table()
	for _, want := range []string{
		"| whole image, 8 machines: last of the bound | 1.20 | 1.15 | **falls short** |",
		"| whole image, 8 machines: time, of aria2's | 0.80 | 1.00 | pass |",
		"| boot, network-bound, 16 machines: last of the bound | no result | 1.30 | **falls short** |",
		"| boot, network-bound, with however many machines: the worst, of the best | no result | 1.30 | **falls short** |",
		"| a machine loses its power, boot, network-bound, 8 machines: time, of the time without | no result | 2.00 | **falls short** |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}

// picture is how near the last machine of each system comes to the bound, which is
// the line at 1.
func (r results) picture() (svg string, err error) {
	var charts []bars.Chart
	add := func(kind float64, machines ...int) {
		for _, n := range machines {
			c := bars.Chart{Title: kinds[kind] + ", " + count(n), Most: 8, Line: 1}
			for _, one := range r.Runs {
				if one.Kind == kind && one.Machines == n && one.Scene == "" && one.Failed == "" {
					c.Bars = append(c.Bars, bars.Bar{Name: one.System, Value: one.Ratio(), Figure: figure(one.Ratio(), 2), Ours: one.System == ours.name})
				}
			}
			charts = append(charts, c)
		}
	}
	add(wholeImage, 8, 16, 32)
	add(networkBound, 1, 2, 4, 8, 16, 32)
	return bars.Draw(charts)
}
