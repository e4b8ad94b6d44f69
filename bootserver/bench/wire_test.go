package bench

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The two ends of the cable.
const (
	serverEnd = "srv"
	clientEnd = "cli"
)

var (
	serverAddr = netip.MustParseAddr("10.88.0.1")
	clientAddr = netip.MustParseAddr("10.88.0.2")
)

// A wire is a cable from this process to the namespace that servers run in.
type wire struct {
	t         *testing.T
	namespace string
	rivals    string // folder made by scripts/fetch-rivals
}

func newWire(t *testing.T, rivals string) *wire {
	t.Helper()
	w := &wire{t: t, namespace: fmt.Sprintf("swarmboot-bench-%d", os.Getpid()), rivals: rivals}
	w.ip("netns add " + w.namespace)
	t.Cleanup(func() { w.ip("netns del " + w.namespace) })
	w.ip("link set lo up")
	w.ip("-n " + w.namespace + " link set lo up")
	w.ip("link add " + clientEnd + " type veth peer name " + serverEnd + " netns " + w.namespace)
	w.ip("-n " + w.namespace + " addr add " + serverAddr.String() + "/16 dev " + serverEnd)
	w.ip("-n " + w.namespace + " link set " + serverEnd + " up")
	w.ip("addr add " + clientAddr.String() + "/16 dev " + clientEnd)
	w.ip("link set " + clientEnd + " up")
	for i := range crowd {
		w.ip("addr add " + clientAddress(i).String() + "/16 dev " + clientEnd)
	}
	return w
}

// clientAddress is the address of the i-th of a crowd of machines.
func clientAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 88, 255, byte(i + 1)}) }

func (w *wire) ip(args string) {
	w.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// A server is a running server; one at a time is.
type server struct {
	w     *wire
	cmd   *exec.Cmd
	log   string
	group string // its control group, which counts its time
}

// start runs a program at the servers' end until it has the port, which is
// "udp:69" or "tcp:80".
func (w *wire) start(dir, port string, command ...string) *server {
	w.t.Helper()
	s := &server{w: w, log: filepath.Join(dir, "log"), group: w.group()}
	log, err := os.Create(s.log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	const join = `echo $$ >"$0/cgroup.procs" && exec "$@"`
	s.cmd = exec.Command("sh", append([]string{"-c", join, s.group, "ip", "netns", "exec", w.namespace, filepath.Join(w.rivals, "run")}, command...)...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, log, log
	s.cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR="+dir)
	if err := s.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	network, number, _ := strings.Cut(port, ":")
	n, err := strconv.Atoi(number)
	if err != nil {
		w.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !s.listens(network, n); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.log)
			w.t.Fatalf("%v has no port %s after 30 s: %s", command, port, text)
		}
	}
	return s
}

// group makes a control group for a server. Its children's time counts too,
// which the kernel's table of processes loses where nobody waits for them.
func (w *wire) group() string {
	w.t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		root = filepath.Join(root, "cpuacct") // cgroups, version 1
	}
	group, err := os.MkdirTemp(root, "swarmboot-bench-")
	if err != nil {
		w.t.Fatal(err)
	}
	return group
}

// listens looks into the namespace of the process, which is its own at once.
func (s *server) listens(network string, port int) bool {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", s.cmd.Process.Pid, network))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // sl local remote state
		if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && (network == "udp" || fields[3] == "0A") {
			return true
		}
	}
	return false
}

// stop ends the server and all that it has started.
func (s *server) stop() {
	s.w.t.Helper()
	s.cmd.Process.Signal(os.Interrupt)
	ended := make(chan struct{})
	go func() {
		s.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-ended
	}
	for _, pid := range s.pids() {
		if p, err := os.FindProcess(pid); err == nil {
			p.Kill()
		}
	}
	// The kernel needs a moment to see that nobody is in it any more.
	var err error
	for range 100 {
		if err = os.Remove(s.group); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.w.t.Error(err)
}

// pids are the processes of the namespace: the server and its children.
func (s *server) pids() (pids []int) {
	out, err := exec.Command("ip", "netns", "pids", s.w.namespace).Output()
	if err != nil {
		s.w.t.Fatal(err)
	}
	for _, field := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cpu is the time of the processor that the server has used, with all that it
// has started.
func (s *server) cpu() (seconds float64) {
	s.w.t.Helper()
	if text, err := os.ReadFile(filepath.Join(s.group, "cpuacct.usage")); err == nil { // cgroups, version 1
		ns, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			s.w.t.Fatal(err)
		}
		return ns / 1e9
	}
	text, err := os.ReadFile(filepath.Join(s.group, "cpu.stat"))
	if err != nil {
		s.w.t.Fatal(err)
	}
	var us float64
	if _, err := fmt.Sscanf(string(text), "usage_usec %g", &us); err != nil {
		s.w.t.Fatalf("%s: %q: %v", s.group, text, err)
	}
	return us / 1e6
}

// memory is the most that the server has had resident, in MiB.
func (s *server) memory() (mib float64) {
	for _, pid := range s.pids() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
				if kib, err := strconv.Atoi(fields[1]); err == nil {
					mib += float64(kib) / 1024
				}
			}
		}
	}
	return mib
}

// fragments is how many IP fragments the servers' end has made so far.
func (w *wire) fragments() int {
	w.t.Helper()
	out, err := exec.Command("ip", "netns", "exec", w.namespace, "cat", "/proc/net/snmp").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "FragCreates" {
				n, err := strconv.Atoi(fields[i])
				if err != nil {
					w.t.Fatal(err)
				}
				return n
			}
		}
	}
	w.t.Fatal("the kernel does not count IP fragments")
	return 0
}
