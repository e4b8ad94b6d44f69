package storm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"swarmboot/initramfs/nettest"
	"swarmboot/peerd/swarm"
)

// A system is one way to bring an image to machines. In its command lines
// {load} is the folder of the load, {dir} a folder of the process's own,
// {server} the server's address, {address} the machine's, {n} the number of
// machines, {source} the folder of this package, {boot} how long a boot computes (0s:
// the whole image is wanted) and {self} this program.
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
	server:  []string{"{self} storm-server --load {load}"},
	machine: "{self} storm-peer --load {load} --dir {dir} --server {server} --boot {boot}",
	lazy:    true,
}

// A run is one system bringing the image to some machines at once.
type run struct {
	When     string
	System   string
	Machines int
	Event    string  `json:",omitempty"` // what happened to it; empty: nothing
	Rate     int64   // of each cable in each direction, bits per second
	Kind     float64 // how long a boot computes, in units of W/c; 0: the whole image is fetched
	Compute  float64 // the same in seconds

	Failed    string  `json:",omitempty"` // why there is no result
	Last      float64 // seconds until the last machine had booted, or had the image
	Median    float64
	Bound     float64
	Copies    float64  // bytes that left the server, of what the machines need
	Excess    float64  // bytes that the machines received beyond what they need, of that
	Twice     float64  // bytes of pieces that came more than once, of those that came (ours)
	CPU       float64  // seconds of all machines' processes per GB received
	ServerCPU float64  // seconds of the server's per GB received by machines
	Memory    float64  // highest of a machine's processes, MiB
	Busy      float64  // part of the time in which this computer's processors worked
	Said      []string `json:",omitempty"` // what the processes of the server and of the machines counted (ours)
}

// Ratio is how near the last machine comes to the bound.
func (r run) Ratio() float64 { return r.Last / r.Bound }

// measure runs a system until the last machine has what it wants.
func measure(t *testing.T, l *load, s system, machines int, kind float64, e event) run {
	t.Helper()
	rate := rateFor(machines)
	compute := kind * seconds(hotPieces*pieceLength, rate)
	r := run{When: time.Now().Format(time.DateOnly), System: s.name, Machines: machines, Rate: rate, Kind: kind, Compute: compute, Event: e.name}
	word, need := "complete", int64(imageSize)
	r.Bound = boundImage(machines, rate)
	if compute > 0 {
		r.Bound = boundBoot(machines, rate, compute)
		if s.lazy {
			word, need = "ready", hotPieces*pieceLength
		}
	}
	ok := t.Run(fmt.Sprintf("%s/%d machines/boot of %.3g/%s", s.name, machines, kind, e.name), func(t *testing.T) {
		h := newHall(t, machines, rate)
		e.prepare(h)
		var servers, nodes []*process
		dir := t.TempDir()
		for i, line := range s.server {
			p := h.start(l, filepath.Join(dir, fmt.Sprint("server", i)), serverEnd, compute, line)
			p.mustSay(t, "up", 20*time.Second)
			servers = append(servers, p)
		}
		for end := 1; end <= machines; end++ {
			nodes = append(nodes, h.start(l, filepath.Join(dir, strconv.Itoa(end)), end, compute, s.machine))
		}
		time.Sleep(500 * time.Millisecond) // all have loaded their program
		before, workedBefore, passedBefore := h.traffic(), worked(t), time.Now()
		began := time.Now()
		for _, p := range append(slices.Clone(servers), nodes...) {
			p.release()
		}
		var times []float64
		for _, p := range e.happen(h, servers, nodes, time.Duration(r.Bound/2*float64(time.Second))) {
			// Whoever needs longer than a server that sends everybody a copy is stuck.
			at, err := p.await(word, time.Duration((2+float64(machines))*r.Bound+60)*time.Second)
			if err != nil {
				r.Failed = err.Error()
				break
			}
			took := at.Sub(began).Seconds()
			if compute > 0 && !s.lazy {
				took += compute
			}
			times = append(times, took)
		}
		after := h.traffic()
		r.Busy = (worked(t) - workedBefore) / time.Since(passedBefore).Seconds() / float64(runtime.NumCPU())
		for end := 1; end <= machines; end++ {
			r.Memory = max(r.Memory, h.memory(end))
		}
		for _, p := range append(slices.Clone(nodes), servers...) {
			p.stop(t)
		}
		if r.Failed != "" {
			t.Log(r.Failed)
			return
		}
		slices.Sort(times)
		r.Last, r.Median = times[len(times)-1], times[len(times)/2]
		received := int64(0)
		for end := 1; end <= machines; end++ {
			received += after[end].received - before[end].received
		}
		if received < int64(len(times))*need {
			t.Fatalf("the machines say that they have what they need, and have received %d bytes of %d", received, int64(len(times))*need)
		}
		r.Copies = float64(after[serverEnd].sent-before[serverEnd].sent) / float64(need)
		r.Excess = float64(received)/float64(int64(machines)*need) - 1
		for _, p := range servers {
			r.ServerCPU += p.cpu() / float64(received) * 1e9
			r.Said = append(r.Said, strings.Fields(p.stats)...)
		}
		for _, p := range nodes {
			r.CPU += p.cpu() / float64(received) * 1e9
			var stats swarm.Stats
			if json.Unmarshal([]byte(p.stats[strings.LastIndexByte(strings.TrimSpace(p.stats), '\n')+1:]), &stats) == nil && stats.FromPeers+stats.FromServer > 0 {
				r.Twice += float64(stats.Duplicates) / float64(stats.FromPeers+stats.FromServer+stats.Duplicates) / float64(machines)
			}
			r.Said = append(r.Said, strings.Fields(p.stats)...)
		}
		t.Logf("%.2f s, %.2f of the bound (median %.2f s); %.2f copies, %.1f %% in excess; CPU s/GB %.1f and server %.1f; %.0f MiB; processors busy %.0f %%",
			r.Last, r.Ratio(), r.Median, r.Copies, 100*r.Excess, r.CPU, r.ServerCPU, r.Memory, 100*r.Busy)
	})
	if !ok && r.Failed == "" {
		r.Failed = "the bench could not measure it; see the log"
	}
	return r
}

// worked is the time that this computer's processors have worked, in seconds.
func worked(t testing.TB) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	ticks := 0.0
	for i, field := range strings.Fields(line)[1:] {
		const idle, iowait, steal = 3, 4, 7
		if n, _ := strconv.ParseFloat(field, 64); i < steal && i != idle && i != iowait {
			ticks += n
		}
	}
	return ticks / 100 // USER_HZ
}

// A process is a program in a namespace, which tells by lines on its output how
// far it has come.
type process struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	log   string

	mu    sync.Mutex
	said  map[string]time.Time // guarded by mu
	news  chan struct{}        // closed when something is said; guarded by mu
	stats string               // guarded by mu
	ended chan struct{}
}

// start runs a command line at an end.
func (h *hall) start(l *load, dir string, end int, compute float64, line string) *process {
	h.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	source, err := os.Getwd()
	if err != nil {
		h.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	fill := strings.NewReplacer("{load}", l.dir, "{dir}", dir, "{server}", h.address(serverEnd), "{address}", h.address(end),
		"{n}", strconv.Itoa(h.machines), "{boot}", time.Duration(compute*float64(time.Second)).String(), "{self}", self, "{source}", filepath.Join(source, "."))
	p := &process{log: filepath.Join(dir, "log"), said: map[string]time.Time{}, news: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command("ip", "netns", "exec", h.namespace(end), "sh", "-c", "exec "+fill.Replace(line))
	p.cmd.Dir = dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(p.log)
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		h.t.Fatal(err)
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go p.listen(output)
	h.t.Cleanup(func() { p.stop(h.t) })
	return p
}

// listen notes what a process says, and waits for its end.
func (p *process) listen(output io.Reader) {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		p.mu.Lock()
		if _, again := p.said[word]; !again {
			p.said[word] = time.Now()
		}
		if rest != "" && rest != "null" {
			p.stats += rest + "\n"
		}
		close(p.news)
		p.news = make(chan struct{})
		p.mu.Unlock()
	}
	p.cmd.Wait()
	close(p.ended)
}

// await waits until a process has said a word, and tells when that was.
func (p *process) await(word string, limit time.Duration) (time.Time, error) {
	timeout := time.After(limit)
	for {
		ended := p.over()
		p.mu.Lock()
		at, said := p.said[word]
		news := p.news
		p.mu.Unlock()
		switch {
		case said:
			return at, nil
		case ended:
			text, _ := os.ReadFile(p.log)
			return at, fmt.Errorf("it ended before it was %s: %v: %s", word, p.cmd.ProcessState, text)
		}
		select {
		case <-news:
		case <-p.ended:
		case <-timeout:
			text, _ := os.ReadFile(p.log)
			return at, fmt.Errorf("it was not %s after %v: %s", word, limit, text)
		}
	}
}

func (p *process) mustSay(t testing.TB, word string, limit time.Duration) {
	t.Helper()
	if _, err := p.await(word, limit); err != nil {
		t.Fatalf("%v: %v", p.cmd.Args[4:], err)
	}
}

// release says that the machine is switched on.
func (p *process) release() { io.WriteString(p.input, "go\n") }

// stop ends a process and all that it has started.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.input.Close()
	select {
	case <-p.ended:
	case <-time.After(3 * time.Second):
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("end %v: %v", p.cmd.Args[4:], err)
	}
	<-p.ended
}

func (p *process) usage() *syscall.Rusage {
	return p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
}

// cpu is the time of the processor that it has used, in seconds.
func (p *process) cpu() float64 {
	u := p.usage()
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// memory is the most that one of the programs at an end has had resident, MiB.
func (h *hall) memory(end int) (mib float64) {
	pids, err := exec.Command("ip", "netns", "pids", h.namespace(end)).Output()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(pids)) {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(status)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
				kib, _ := strconv.ParseFloat(fields[1], 64)
				mib = max(mib, kib/1024)
			}
		}
	}
	return mib
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
	events   []event
	long     bool
}

var (
	calm  = []event{{}}
	parts = []part{
		{kind: wholeImage, machines: []int{8}, systems: append([]system{ours}, rivals[:4]...), events: calm},
		{kind: wholeImage, machines: []int{1, 2}, systems: []system{ours, rivals[0]}, events: calm},
		{kind: wholeImage, machines: []int{4, 32}, systems: []system{ours}, events: calm},
		{kind: wholeImage, machines: []int{16}, systems: append([]system{ours}, best...), events: calm},
		{kind: wholeImage, machines: []int{32}, systems: best, events: calm, long: true},
		{kind: wholeImage, machines: []int{8}, systems: rivals[4:], events: calm, long: true},
		{kind: networkBound, machines: []int{1, 2, 8}, systems: lazyRivals[2:], events: calm, long: true},
		{kind: networkBound, machines: []int{1, 2, 4, 8, 16, 32}, systems: []system{ours}, events: calm},
		{kind: networkBound, machines: []int{1, 2, 8}, systems: lazyRivals[:2], events: calm},
		{kind: computeBound, machines: []int{8}, systems: []system{ours}, events: calm},
		{kind: wholeImage, machines: []int{8}, systems: []system{ours}, events: faults, long: true},
	}
)

// TestStorm measures everything. It fails only if it can't: a goal that is
// missed is told in the table. What it measures anew replaces what an earlier
// run has written, so that a bench which takes an hour may be run in parts:
// STORM_MACHINES, STORM_SYSTEMS, STORM_KINDS and STORM_EVENTS choose them.
func TestStorm(t *testing.T) {
	folder := os.Getenv("SWARMBOOT_BENCH")
	if folder == "" {
		t.Skip("takes ten minutes, and the whole computer; run it by make bench-storm")
	}
	if !nettest.AsRoot(t) {
		return
	}
	l := newLoad(t, t.TempDir())
	r := readResults(t, folder)
	for _, p := range parts {
		if p.long && os.Getenv("STORM") != "long" {
			continue
		}
		for _, n := range p.machines {
			for _, s := range p.systems {
				for _, e := range p.events {
					switch {
					case !chosen("STORM_MACHINES", strconv.Itoa(n)), !chosen("STORM_SYSTEMS", s.name), !chosen("STORM_KINDS", fmt.Sprint(p.kind)), !chosen("STORM_EVENTS", e.name):
					case !s.here():
						t.Logf("%s is not on this computer: it needs %v", s.name, s.needs)
					default:
						r.add(measure(t, l, s, n, p.kind, e))
					}
				}
			}
		}
	}
	r.write(t, folder)
}

// chosen tells whether a variable of the environment, a list, names a value;
// without it, all are chosen.
func chosen(variable, value string) bool {
	list := os.Getenv(variable)
	return list == "" || slices.Contains(strings.Split(list, ","), value)
}
