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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program in a namespace, which tells by lines on its output how
// far it has come.
type process struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	log   string

	mu    sync.Mutex
	said  map[string]saying // by word; guarded by mu
	news  chan struct{}     // closed when something is said; guarded by mu
	ended chan struct{}
}

// A saying is when a process has first said a word, and what belongs to it (JSON).
type saying struct {
	at   time.Time
	what string
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
		"{n}", strconv.Itoa(h.machines), "{size}", strconv.FormatInt(l.size, 10), "{boot}", time.Duration(compute*float64(time.Second)).String(), "{self}", self, "{source}", filepath.Join(source, "."))
	p := &process{log: filepath.Join(dir, "log"), said: map[string]saying{}, news: make(chan struct{}), ended: make(chan struct{})}
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
			p.said[word] = saying{time.Now(), rest}
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
		it, said := p.said[word]
		news := p.news
		p.mu.Unlock()
		switch {
		case said:
			return it.at, nil
		case ended:
			text, _ := os.ReadFile(p.log)
			return time.Time{}, fmt.Errorf("it ended before it was %s: %v: %s", word, p.cmd.ProcessState, text)
		}
		select {
		case <-news:
		case <-p.ended:
		case <-timeout:
			text, _ := os.ReadFile(p.log)
			return time.Time{}, fmt.Errorf("it was not %s after %v: %s", word, limit, text)
		}
	}
}

// told decodes what belongs to a word that a process has said. It tells whether it
// has said it.
func (p *process) told(word string, what any) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return json.Unmarshal([]byte(p.said[word].what), what) == nil
}

// hasSaid tells whether a process has said a word.
func (p *process) hasSaid(word string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, said := p.said[word]
	return said
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

func (p *process) mustSay(t testing.TB, word string, limit time.Duration) {
	t.Helper()
	if _, err := p.await(word, limit); err != nil {
		t.Fatalf("%v: %v", p.cmd.Args[4:], err)
	}
}

// release says that machines are switched on.
func release(processes []*process) {
	for _, p := range processes {
		io.WriteString(p.input, "go\n")
	}
}

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
