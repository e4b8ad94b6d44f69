package storm

import (
	"slices"
	"syscall"
	"time"
)

// An event is what happens to a run when half of the bound is over.
type event struct {
	name   string
	hits   int // of so many machines, the first ones
	server bool
	signal syscall.Signal
	loss   string // part of the packets that no machine receives; from the beginning on
}

// All machines that a fault doesn't hit must have the image in less than twice
// the time.
var faults = []event{
	{name: "a machine loses its power", hits: 1, signal: syscall.SIGKILL},
	{name: "a machine hangs", hits: 1, signal: syscall.SIGSTOP},
	// A packet is up to 16 KiB here, so that much more is lost than of 1500 bytes.
	{name: "1 % of the packets is lost", loss: "0.01"},
	{name: "the server ends when 1.05 copies are out", server: true, signal: syscall.SIGKILL},
}

// prepare does what is there from the beginning on.
func (e event) prepare(h *hall) {
	for end := 1; end <= h.machines && e.loss != ""; end++ {
		h.run("ip netns exec " + h.namespace(end) + " iptables -A INPUT -m statistic --mode random --probability " + e.loss + " -j DROP")
	}
}

// happen waits for the moment of the event. It returns the machines that go on.
func (e event) happen(h *hall, servers, nodes []*process, half time.Duration) []*process {
	if e.name == "" {
		return nodes
	}
	if e.signal != 0 {
		time.Sleep(half)
	}
	if e.server {
		for _, p := range servers {
			for !p.over() && h.traffic()[serverEnd].sent < imageSize*105/100 && !all(nodes, "complete") {
				time.Sleep(20 * time.Millisecond)
			}
			syscall.Kill(-p.cmd.Process.Pid, e.signal)
		}
	}
	for _, p := range nodes[:e.hits] {
		syscall.Kill(-p.cmd.Process.Pid, e.signal)
	}
	return nodes[e.hits:]
}

// all tells whether all processes have said a word.
func all(processes []*process, word string) bool {
	return !slices.ContainsFunc(processes, func(p *process) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.said[word].IsZero()
	})
}

// over tells whether a process has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
