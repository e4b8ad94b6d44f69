package storm

import (
	"bytes"
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
	"time"

	"swarmboot/initramfs/nettest"
	"swarmboot/peerd/swarm"
)

// A system is one way to bring an image to machines. In its command lines
// {load} is the folder of the load, {dir} a folder of the process's own,
// {server} the server's address, {address} the machine's, {n} the number of
// machines, {size} that of the image's bytes, {source} the folder of this package,
// {boot} how long a boot computes (below 0s: the whole image is wanted) and {self}
// this program.
type system struct {
	name    string
	server  []string // command lines
	machine string   // command line; it waits for a line on its input, and ends at the end of it
	lazy    bool     // it boots while the image arrives
	torrent bool     // it is a BitTorrent client
	needs   []string // programs, or files that tell of a package
}

var ours = system{
	name:    "swarmboot",
	server:  []string{ourServer},
	machine: ourMachine,
	lazy:    true,
}

// rackBlind is ours with a tracker and machines that don't know of racks.
var rackBlind = system{
	name:    "swarmboot, rack-blind",
	server:  []string{ourServer + " --blind"},
	machine: ourMachine + " --blind",
	lazy:    true,
}

const (
	ourServer  = "{self} storm-server --load {load}"
	ourMachine = "{self} storm-peer --load {load} --dir {dir} --address {address} --boot {boot}"
)

// A run is one system bringing the image to some machines at once.
type run struct {
	When     string
	System   string
	Machines int
	Scene    string  `json:",omitempty"` // what is special about it; empty: nothing
	Rate     int64   // of each cable in each direction, bits per second
	Kind     float64 // how long a boot computes, in units of W/c; below 0: the whole image is fetched
	Compute  float64 // the same in seconds

	Failed    string  `json:",omitempty"` // why there is no result
	Need      int64   // bytes that a machine needs
	Last      float64 // seconds until the last machine had booted, or had the image
	Median    float64
	Bound     float64  // 0: unknown
	Copies    float64  // bytes that left the server, of what the machines need
	Core      float64  `json:",omitempty"` // bytes that entered racks, of one such copy for each
	Excess    float64  // bytes that the machines received beyond what they need, of that
	Twice     float64  // bytes of pieces that came more than once, of those that came (ours)
	Slow      float64  `json:",omitempty"` // seconds that all reads but one in a hundred waited at most (ours)
	CPU       float64  // seconds of all machines' processes per GB received
	ServerCPU float64  // seconds of the server's per GB received by machines
	Memory    float64  // highest of a machine's processes, MiB
	Busy      float64  // part of the time in which this computer's processors worked
	Said      []string `json:",omitempty"` // what the processes of the server and of the machines counted (ours)
}

// Ratio is how near the last machine comes to the bound; 0: it is unknown.
func (r run) Ratio() float64 {
	if r.Bound == 0 {
		return 0
	}
	return r.Last / r.Bound
}

// measure runs a system until the last machine has what it wants.
func measure(t *testing.T, made *loads, s system, machines int, kind float64, sc scene) run {
	t.Helper()
	if sc.load == (shape{}) {
		sc.load = usual
	}
	l, floor := made.load(t, sc.load), sc.floor(machines)
	r := run{When: time.Now().Format(time.DateOnly), System: s.name, Machines: machines, Rate: floor.rate, Kind: kind, Scene: sc.name}
	atOnce := machines
	if sc.late {
		atOnce = 1
	}
	word := "complete"
	r.Compute, r.Need, r.Bound = wholeImage, l.size, l.boundImage(atOnce, floor.rate)
	if kind >= 0 {
		r.Compute = kind * seconds(l.hotBytes(), floor.rate)
		r.Bound = l.boundBoot(atOnce, floor.rate, r.Compute)
		if s.lazy {
			word, r.Need = "ready", l.hotBytes()
		}
	}
	ok := t.Run(fmt.Sprintf("%s/%d machines/boot of %.3g/%s", s.name, machines, kind, sc.name), func(t *testing.T) {
		h := floor.lay(t)
		sc.prepare(h)
		servers, nodes := h.startAll(t, l, s, sc, r.Compute)
		// Whoever needs longer than a server that sends everybody a copy is stuck.
		limit := time.Duration((2+float64(machines))*r.Bound+60) * time.Second
		begin := nodes
		if sc.late {
			begin = nodes[machines-1:]
			release(nodes[:machines-1])
			for _, p := range nodes[:machines-1] {
				p.mustSay(t, "complete", 2*limit)
			}
		}
		before := h.count()
		release(begin)
		sc.happen(h, servers, nodes, time.Duration(r.Bound/2*float64(time.Second)))
		var times []float64
		for _, p := range sc.counting(nodes) {
			at, err := p.await(word, limit)
			if err != nil {
				r.Failed = err.Error()
				break
			}
			took := at.Sub(before.at).Seconds()
			if kind >= 0 && !s.lazy {
				took += r.Compute
			}
			times = append(times, took)
		}
		after := h.count()
		for end := 1; end <= machines; end++ {
			r.Memory = max(r.Memory, h.memory(end))
		}
		for _, p := range append(slices.Clone(nodes), servers...) {
			p.stop(t)
		}
		if r.Failed == "" {
			r.Failed = l.wrong(nodes)
		}
		if r.Failed != "" {
			t.Log(r.Failed)
			return
		}
		slices.Sort(times)
		r.Last, r.Median = times[len(times)-1], times[len(times)/2]
		received := after.received(before)
		if received < int64(len(times))*r.Need {
			t.Fatalf("the machines say that they have what they need, and have received %d bytes of %d", received, int64(len(times))*r.Need)
		}
		r.Copies = float64(after.ends[serverEnd].sent-before.ends[serverEnd].sent) / float64(r.Need)
		r.Core = float64(after.core-before.core) / float64(int64(max(1, h.racks))*r.Need)
		r.Excess = float64(received)/float64(int64(len(times))*r.Need) - 1
		r.Busy = (after.worked - before.worked) / after.at.Sub(before.at).Seconds() / float64(runtime.NumCPU())
		r.addUp(servers, nodes, received)
		if sc.late {
			r.CPU, r.ServerCPU = 0, 0 // most of it is that of the others
		}
		t.Logf("%.2f s, %.2f of the bound (median %.2f s); %.2f copies, %.1f %% in excess, core %.2f; a slow read %.3f s; CPU s/GB %.1f and server %.1f; %.0f MiB; processors busy %.0f %%",
			r.Last, r.Ratio(), r.Median, r.Copies, 100*r.Excess, r.Core, r.Slow, r.CPU, r.ServerCPU, r.Memory, 100*r.Busy)
	})
	if !ok && r.Failed == "" {
		r.Failed = "the bench could not measure it; see the log"
	}
	return r
}

// startAll starts a system's programs; machines wait to be switched on.
func (h *hall) startAll(t *testing.T, l *load, s system, sc scene, compute float64) (servers, nodes []*process) {
	dir := t.TempDir()
	for i, line := range s.server {
		p := h.start(l, filepath.Join(dir, fmt.Sprint("server", i)), serverEnd, compute, line+sc.server)
		p.mustSay(t, "up", 20*time.Second)
		servers = append(servers, p)
	}
	for end := 1; end <= h.machines; end++ {
		line := s.machine
		if sc.has(end) {
			line += sc.machine
		}
		nodes = append(nodes, h.start(l, filepath.Join(dir, strconv.Itoa(end)), end, compute, line))
	}
	time.Sleep(500 * time.Millisecond) // all have loaded their program
	release(servers)
	return servers, nodes
}

// addUp adds up what the processes have used and told.
func (r *run) addUp(servers, nodes []*process, received int64) {
	var reads []float64
	for _, p := range append(slices.Clone(servers), nodes...) {
		for _, word := range []string{"stalls", "stats"} {
			if what := p.said[word].what; what != "" {
				r.Said = append(r.Said, what)
			}
		}
	}
	for _, p := range servers {
		r.ServerCPU += p.cpu() / float64(received) * 1e9
	}
	for _, p := range nodes {
		r.CPU += p.cpu() / float64(received) * 1e9
		var stats swarm.Stats
		if p.told("stats", &stats) && stats.FromPeers+stats.FromServer > 0 {
			r.Twice += float64(stats.Duplicates) / float64(stats.FromPeers+stats.FromServer+stats.Duplicates) / float64(len(nodes))
		}
		var some []float64
		p.told("reads", &some)
		reads = append(reads, some...)
	}
	if slices.Sort(reads); len(reads) > 0 {
		r.Slow = reads[len(reads)*99/100]
	}
}

// wrong compares the files of the machines that have brought the whole image, and
// tells what is wrong with one.
func (l *load) wrong(nodes []*process) string {
	image, err := os.ReadFile(l.path("image"))
	if err != nil {
		return err.Error()
	}
	for i, p := range nodes {
		if !p.hasSaid("complete") {
			continue
		}
		got, err := os.ReadFile(filepath.Join(p.cmd.Dir, "image"))
		switch {
		case errors.Is(err, fs.ErrNotExist): // it keeps none
		case err != nil:
			return err.Error()
		case !bytes.Equal(got, image):
			return fmt.Sprintf("what machine %d has brought is not the image", i+1)
		}
	}
	return ""
}

// rateFor is the rate of every cable, in bits per second: such that they are the
// limit and not two processors, which have 32 times 31 connections to look after.
func rateFor(machines int) int64 {
	if machines > 16 {
		return 6_250_000
	}
	return 25_000_000
}

// A part of the bench is some systems that do the same with so many machines.
// The short form leaves out those that say long.
type part struct {
	kind     float64
	machines []int
	systems  []system
	scenes   []scene
	long     bool
}

var (
	onlyOurs = []system{ours}
	parts    = []part{
		{kind: wholeImage, machines: []int{8}, systems: append([]system{ours}, rivals[:4]...), scenes: calm},
		{kind: wholeImage, machines: []int{1, 2}, systems: []system{ours, rivals[0]}, scenes: calm},
		{kind: wholeImage, machines: []int{4, 32}, systems: onlyOurs, scenes: calm},
		{kind: wholeImage, machines: []int{16}, systems: append([]system{ours}, best...), scenes: calm},
		{kind: networkBound, machines: []int{1, 2, 4, 8, 16, 32}, systems: onlyOurs, scenes: calm},
		{kind: networkBound, machines: []int{1, 2, 8}, systems: lazyRivals[:2], scenes: calm},
		{kind: computeBound, machines: []int{8}, systems: onlyOurs, scenes: calm},

		{kind: wholeImage, machines: []int{8}, systems: onlyOurs, scenes: faults, long: true},
		{kind: wholeImage, machines: []int{16}, systems: onlyOurs, scenes: massacre, long: true},
		{kind: networkBound, machines: []int{8}, systems: onlyOurs, scenes: []scene{dies}, long: true},
		{kind: networkBound, machines: []int{16}, systems: onlyOurs, scenes: untracked, long: true},
		{kind: networkBound, machines: []int{9}, systems: onlyOurs, scenes: lateness, long: true},
		{kind: networkBound, machines: []int{32}, systems: []system{ours, rackBlind}, scenes: quarters, long: true},
		{kind: wholeImage, machines: []int{1}, systems: []system{ours, wire, rivals[0], rivals[1], rivals[3]}, scenes: oneToOne, long: true},
		{kind: computesNothing, machines: []int{8}, systems: onlyOurs, scenes: replay, long: true},
		{kind: computesToo, machines: []int{8}, systems: onlyOurs, scenes: replay, long: true},
		{kind: computeBound, machines: []int{8}, systems: onlyOurs, scenes: replay, long: true},
		{kind: networkBound, machines: []int{8}, systems: onlyOurs, scenes: lengths, long: true},
		{kind: wholeImage, machines: []int{8}, systems: onlyOurs, scenes: lengths, long: true},
		{kind: wholeImage, machines: []int{32}, systems: best, scenes: calm, long: true},
		{kind: wholeImage, machines: []int{8}, systems: rivals[4:], scenes: calm, long: true},
		{kind: networkBound, machines: []int{1, 2, 8}, systems: lazyRivals[2:], scenes: calm, long: true},
	}
)

// TestStorm measures everything. It fails only if it can't: a goal that is
// missed is told in the table. What it measures anew replaces what an earlier
// run has written, so that a bench which takes an hour may be run in parts:
// STORM_MACHINES, STORM_SYSTEMS, STORM_KINDS and STORM_SCENES choose them.
func TestStorm(t *testing.T) {
	folder := os.Getenv("SWARMBOOT_BENCH")
	if folder == "" {
		t.Skip("takes ten minutes, and the whole computer; run it by make bench-storm")
	}
	if !nettest.AsRoot(t) {
		return
	}
	made := &loads{dir: t.TempDir(), made: map[shape]*load{}}
	r := readResults(t, folder)
	for _, p := range parts {
		if p.long && os.Getenv("STORM") != "long" {
			continue
		}
		for _, n := range p.machines {
			for _, s := range p.systems {
				for _, sc := range p.scenes {
					switch {
					case !chosen("STORM_MACHINES", strconv.Itoa(n)), !chosen("STORM_SYSTEMS", s.name), !chosen("STORM_KINDS", fmt.Sprint(p.kind)), !chosen("STORM_SCENES", sc.name):
					case !s.here():
						t.Logf("%s is not on this computer: it needs %v", s.name, s.needs)
					default:
						r.add(measure(t, made, s, n, p.kind, sc))
						r.write(t, folder) // what was measured stays, if the next never ends
					}
				}
			}
		}
	}
	r.write(t, folder)
	t.Logf("\n%s", r.scores())
}

// chosen tells whether a variable of the environment, a list, names a value;
// without it, all are chosen.
func chosen(variable, value string) bool {
	list, some := os.LookupEnv(variable)
	return !some || slices.Contains(strings.Split(list, ","), value)
}
