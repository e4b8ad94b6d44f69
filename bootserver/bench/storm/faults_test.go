package storm

import (
	"slices"
	"syscall"
	"time"
)

// A fault is what befalls a run when half of the bound is over. All machines
// that it doesn't hit must have the image in less than twice the time.
type fault struct {
	name   string
	hits   int // of so many machines, the first ones
	server bool
	signal syscall.Signal
}

var faults = []fault{
	{name: "a machine loses its power", hits: 1, signal: syscall.SIGKILL},
	{name: "a machine hangs", hits: 1, signal: syscall.SIGSTOP},
	{name: "the server ends when 1.05 copies are out", server: true, signal: syscall.SIGKILL},
}

// befall waits for the moment of the fault and does it. It returns the machines
// that go on.
func (f fault) befall(h *hall, servers, nodes []*process, half time.Duration) []*process {
	if f.name == "" {
		return nodes
	}
	time.Sleep(half)
	if f.server {
		for _, p := range servers {
			for !p.over() && h.traffic()[serverEnd].sent < imageSize*105/100 && !all(nodes, "complete") {
				time.Sleep(20 * time.Millisecond)
			}
			syscall.Kill(-p.cmd.Process.Pid, f.signal)
		}
	}
	for _, p := range nodes[:f.hits] {
		syscall.Kill(-p.cmd.Process.Pid, f.signal)
	}
	return nodes[f.hits:]
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
