package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Bridge is the name of the LAN's bridge inside its namespace: the interface
// that a boot server serves on.
const Bridge = "br0"

// namespaces is where iproute2 keeps the names of network namespaces.
const namespaces = "/run/netns"

// A LAN is a virtual network without a way out: a bridge in a network namespace.
type LAN struct {
	name string // of the namespace
	dir  string // of the capture and of a folder for each machine
}

// NewLAN makes a network namespace called name, in it a bridge with the given
// address, and records what a boot says on the wire to boot.pcap in dir.
func NewLAN(name string, address netip.Prefix, dir string) (*LAN, error) {
	if Exists(name) {
		return nil, fmt.Errorf("network namespace %s exists already: another run uses it, or one was killed; remove it by: ip netns del %s", name, name)
	}
	l := OpenLAN(name, dir)
	if err := run("ip", "netns", "add", name); err != nil {
		return nil, err
	}
	if err := l.build(address); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// OpenLAN gives access to a LAN that another process has made.
func OpenLAN(name, dir string) *LAN { return &LAN{name: name, dir: dir} }

// Exists tells whether there is a LAN of that name.
func Exists(name string) bool {
	_, err := os.Stat(filepath.Join(namespaces, name))
	return err == nil
}

func (l *LAN) build(address netip.Prefix) error {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return fmt.Errorf("make the LAN's folder: %w", err)
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", Bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"},
		{"addr", "add", address.String(), "dev", Bridge},
		{"link", "set", Bridge, "up"},
	} {
		if err := l.ip(args...); err != nil {
			return err
		}
	}
	return l.capture()
}

// wire is what the capture keeps: everything of DHCP, TFTP and ARP, of TCP the
// begin and end of each connection and the packets that begin an HTTP header.
// The pieces themselves would be hundreds of megabytes.
const wire = `arp or icmp or icmp6 or udp or tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0 or ` +
	`(tcp port 80 and (tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420 or tcp[((tcp[12] & 0xf0) >> 2):4] = 0x48454144 or ` + // "GET ", "HEAD"
	`tcp[((tcp[12] & 0xf0) >> 2):4] = 0x504f5354 or tcp[((tcp[12] & 0xf0) >> 2):4] = 0x48545450))` // "POST", "HTTP"

// capture starts tcpdump, which ends with the LAN.
func (l *LAN) capture() error {
	log, err := os.Create(filepath.Join(l.dir, "tcpdump.log"))
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	defer log.Close()
	cmd := l.Command(context.Background(), "tcpdump",
		"-i", Bridge, "-w", filepath.Join(l.dir, "boot.pcap"), wire)
	// -U: a packet is in the file at once, also when the run is killed.
	// -Z root: else tcpdump becomes a user that may not write to dir.
	// -s, -c: bounds; a boot takes a few thousand packets.
	cmd.Args = append(cmd.Args, "-n", "-U", "-Z", "root", "-s", "1600", "-c", "100000")
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	go cmd.Wait() // ends in Close, which waits for the process itself
	return nil
}

// Command prepares a program that runs inside the LAN: it sees the bridge as
// the boot server's host would see its network card.
func (l *LAN) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.name, name}, args...)...)
}

// Close ends every program that runs inside the LAN and removes the LAN.
func (l *LAN) Close() error {
	var errs []error
	for _, end := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGTERM, 6 * time.Second}, {syscall.SIGKILL, 10 * time.Second}} {
		pids, err := l.signal(end.signal, end.patience)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		if end.signal == syscall.SIGKILL {
			errs = append(errs, fmt.Errorf("network namespace %s: processes %v do not end", l.name, pids))
		}
	}
	if err := run("ip", "netns", "del", l.name); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// signal sends sig to all processes of the LAN until none is left or patience
// is at its end, and returns those that are left.
func (l *LAN) signal(sig syscall.Signal, patience time.Duration) ([]int, error) {
	told := make(map[int]bool)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		pids, err := l.processes()
		if err != nil || len(pids) == 0 || time.Now().After(end) {
			return pids, err
		}
		for _, pid := range pids {
			if !told[pid] {
				told[pid] = true
				syscall.Kill(pid, sig) // one that has just ended is what we want
			}
		}
	}
}

// processes lists the processes whose network is the LAN.
func (l *LAN) processes() ([]int, error) {
	out, err := exec.Command("ip", "netns", "pids", l.name).Output()
	if err != nil {
		return nil, fmt.Errorf("list processes of network namespace %s: %w", l.name, err)
	}
	var pids []int
	for _, field := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("list processes of network namespace %s: %w", l.name, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// TempName is a LAN name that tells whose it is: prefix-PID-n.
func TempName(prefix string, n int) string {
	return fmt.Sprintf("%s-%d-%d", prefix, os.Getpid(), n)
}

// RemoveLeftovers closes LANs called by TempName whose process is gone: a killed
// run cleans up nothing.
func RemoveLeftovers(prefix string) error {
	entries, err := os.ReadDir(namespaces)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for leftover LANs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix+"-")
		owner, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(owner)
		if !ok || err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		errs = append(errs, OpenLAN(e.Name(), "").Close())
	}
	return errors.Join(errs...)
}

// ip runs an ip command inside the namespace.
func (l *LAN) ip(args ...string) error { return run("ip", append([]string{"-n", l.name}, args...)...) }

// run runs a program that has no output unless it fails.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
