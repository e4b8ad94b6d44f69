package storm

import (
	"slices"
	"syscall"
	"time"
)

// A scene is what is special about a run. Of the first one nothing is: machines
// in one rack are switched on at once, and nothing happens to them.
type scene struct {
	name  string
	topic string // of the report, where its run is shown

	load  shape // zero: usual
	rate  int64 // of each cable, bits per second; 0: as slow as so many machines need
	racks int   // with uplinks of a quarter of what their machines have

	loss    string // part of the packets that no machine receives
	server  string // arguments that our server has besides
	first   int    // so many machines are special; -1: all
	machine string // arguments that they have besides
	out     bool   // they don't count
	late    bool   // the last machine is switched on when all others are complete; only it counts

	// At half of the bound, a signal for the first machines, or for the server
	// when 1.05 copies are out.
	signal syscall.Signal
	ends   bool // the server
}

// Topics of scenes.
const (
	faulty    = "Something happens"
	racked    = "Racks, with uplinks of a quarter of what their machines have"
	alone     = "One machine, beside what the links can do"
	recorded  = "A boot that was recorded"
	piecewise = "How long a piece is"
	together  = "One is late"
)

// topics are all, in the order of the report.
var topics = []string{faulty, together, racked, alone, recorded, piecewise}

var (
	calm = []scene{{}}

	// All machines that a fault doesn't hit must come through in less than twice
	// the time.
	dies   = scene{name: "a machine loses its power", topic: faulty, first: 1, out: true, signal: syscall.SIGKILL}
	faults = []scene{
		dies,
		{name: "a machine hangs", topic: faulty, first: 1, out: true, signal: syscall.SIGSTOP},
		// A packet is up to 16 KiB here, so that much more is lost than of 1500 bytes.
		{name: "1 % of the packets is lost", topic: faulty, loss: "0.01"},
		{name: "the server ends when 1.05 copies are out", topic: faulty, ends: true, signal: syscall.SIGKILL},
		{name: "a machine sends wrong bytes", topic: faulty, first: 1, out: true, machine: " --corrupt"},
	}
	// Of 16 machines two are an eighth.
	massacre = []scene{{name: "a tenth of the machines loses its power", topic: faulty, first: 2, out: true, signal: syscall.SIGKILL}}
	// Machines know eight others from their boot descriptions.
	untracked = []scene{{name: "no tracker", topic: faulty, server: " --no-tracker", first: -1, machine: " --peers {n}"}}

	quarters = []scene{{name: "4 racks", topic: racked, racks: 4}}

	lateness = []scene{{name: "a machine comes when all others are complete", topic: together, late: true}}

	large    = shape{size: 400 << 20, pieceLength: 256 << 10, hot: 480}
	oneToOne = []scene{
		{name: "unshaped", topic: alone, load: large, rate: unshaped},
		{name: "1 Gbit/s", topic: alone, load: large, rate: 1e9},
	}

	lab    = shape{size: 63766528, pieceLength: 256 << 10, hot: 95, recorded: "testdata/lab.json"}
	replay = []scene{{name: "a recorded boot; two machines over FUSE", topic: recorded, load: lab, first: 2, machine: " --fuse"}}

	lengths = []scene{
		{name: "pieces of 16 KiB", topic: piecewise, load: inPieces(16 << 10)},
		{name: "pieces of 32 KiB", topic: piecewise, load: inPieces(32 << 10)},
		{name: "pieces of 128 KiB", topic: piecewise, load: inPieces(128 << 10)},
		{name: "pieces of 256 KiB", topic: piecewise, load: inPieces(256 << 10)},
	}
)

// has tells whether a machine is one of the first.
func (s scene) has(end int) bool { return s.first < 0 || end <= s.first }

// floor is what the scene needs for so many machines.
func (s scene) floor(machines int) floor {
	f := floor{machines: machines, rate: s.rate, racks: s.racks}
	if f.rate == 0 {
		f.rate = rateFor(machines)
	}
	if s.racks > 0 {
		f.uplink = f.rate * int64(machines/s.racks) / 4
	}
	return f
}

// prepare does what is there from the beginning on.
func (s scene) prepare(h *hall) {
	for end := 1; end <= h.machines && s.loss != ""; end++ {
		h.run("ip netns exec " + h.namespace(end) + " iptables -A INPUT -m statistic --mode random --probability " + s.loss + " -j DROP")
	}
}

// counting are the machines that count.
func (s scene) counting(nodes []*process) []*process {
	switch {
	case s.late:
		return nodes[len(nodes)-1:]
	case s.out:
		return nodes[s.first:]
	}
	return nodes
}

// happen waits for the moment of the scene, and does what it says.
func (s scene) happen(h *hall, servers, nodes []*process, half time.Duration) {
	if s.signal == 0 {
		return
	}
	time.Sleep(half)
	hit := nodes[:s.first]
	if s.ends {
		hit = servers
		for h.count().ends[serverEnd].sent < usual.size*105/100 && !allSaid(nodes, "complete") {
			time.Sleep(20 * time.Millisecond)
		}
	}
	for i, p := range hit {
		if s.signal == syscall.SIGKILL && !s.ends {
			h.run("ip link set " + plug(i+1) + " down") // or its kernel would say goodbye for it
		}
		syscall.Kill(-p.cmd.Process.Pid, s.signal)
	}
}

// allSaid tells whether all processes have said a word.
func allSaid(processes []*process, word string) bool {
	return !slices.ContainsFunc(processes, func(p *process) bool { return !p.hasSaid(word) })
}
