package dhcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// onLAN runs the test anew where it is alone: in namespaces that end with it
// and with all programs that it has started, with a bridge br0 that has 10.77.0.1/24. It returns nil
// outside. Computers are put on the bridge with lan.host.
func onLAN(t *testing.T, programs ...string) *lan {
	t.Helper()
	if os.Getenv("SWARMBOOT_E2E") == "" {
		t.Skip("set SWARMBOOT_E2E=1 for tests with real DHCP clients in network namespaces")
	}
	for _, program := range append(programs, "ip", "mount") {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s; scripts/install-deps installs it", program)
		}
	}
	const inside = "SWARMBOOT_TEST_INSIDE"
	if os.Getenv(inside) == t.Name() {
		l := &lan{T: t}
		l.run("mount --make-rprivate /")
		l.run("mount -t proc proc /proc")
		l.run("mount -t tmpfs tmpfs /run")
		l.run("mount -t tmpfs tmpfs /var/lib") // where clients keep leases
		l.run("ip link set lo up")
		l.run("ip link add br0 type bridge stp_state 0 forward_delay 0")
		l.run("ip address add 10.77.0.1/24 dev br0")
		l.run("ip link set br0 up")
		return l
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprintf("-update=%v", *update))
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return nil
}

type lan struct {
	*testing.T
	hosts int
}

// run runs a command given in words without quotes, and returns what it prints.
func (l *lan) run(command string) string {
	l.Helper()
	args := strings.Fields(command)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second // a daemon that it leaves behind keeps its output open
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil {
		l.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// A host is a computer on the LAN: a namespace with the interface eth0.
type host struct {
	*lan
	name string
	mac  MAC
}

// host connects a computer to the server's bridge, or to another one.
func (l *lan) host(name, bridge string) *host {
	l.Helper()
	l.hosts++
	h := &host{l, name, MAC{2, 0, 0, 0x77, 0, byte(l.hosts)}}
	l.run("ip netns add " + name)
	l.run(fmt.Sprintf("ip link add %s master %s type veth peer name eth0 address %s netns %s", name, bridge, h.mac, name))
	l.run("ip link set " + name + " up")
	h.run("ip link set lo up")
	h.run("ip link set eth0 up")
	return h
}

func (h *host) command(command string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.name}, strings.Fields(command)...)...)
}

// run is lan.run on the host.
func (h *host) run(command string) string {
	h.Helper()
	return h.lan.run("ip netns exec " + h.name + " " + command)
}

// start starts a service that ends with the test.
func (l *lan) start(cmd *exec.Cmd) (output *text) {
	l.Helper()
	output = &text{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return output
}

// text is output that grows while it is read.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (x *text) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.buf.Write(b)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.buf.String()
}

// expect waits for words in the output.
func (x *text) expect(t testing.TB, words string) {
	t.Helper()
	waitFor(t, func() bool { return strings.Contains(x.String(), words) }, func() string { return fmt.Sprintf("%q in:\n%s", words, x) })
}

// waitFor gives a starved computer time.
func waitFor(t testing.TB, done func() bool, what func() string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what())
		}
	}
}

// everybody is a Chooser that boots all machines, the listed ones by name.
type everybody struct{ listed map[MAC]string }

func (e everybody) Choose(c Client) (Boot, error) {
	name, listed := e.listed[c.MAC]
	boot := Boot{Name: name, Listed: listed}
	if c.Program != System {
		boot.File = "snponly.efi"
	}
	return boot, nil
}

func (e everybody) Answered(Client, netip.Addr) {}

// wireNetwork is a network on br0.
func wireNetwork(mode Mode) Network {
	n := lab
	n.Interface, n.Mode, n.First, n.Last = "br0", mode, address(100), address(199)
	return n
}

// serve runs a server until the test ends.
func (l *lan) serve(chooser Chooser, networks ...Network) (*Server, *text) {
	l.Helper()
	log := &text{}
	s, err := New(Config{Networks: networks, Leases: openStore(l, logTo(log)), Log: logTo(log)}, chooser)
	if err != nil {
		l.Fatal(err)
	}
	for _, err := range s.Listen() {
		l.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	l.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.Error(err)
		}
		s.Close()
		if l.Failed() {
			l.Logf("log of the server:\n%s", log)
		}
	})
	return s, log
}

// socket opens a UDP port on the host's card.
func (h *host) socket(port int) *net.UDPConn {
	h.Helper()
	type opened struct {
		conn net.PacketConn
		err  error
	}
	result := make(chan opened)
	go func() {
		runtime.LockOSThread() // for good: the thread ends in the host's namespace
		f, err := os.Open("/run/netns/" + h.name)
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			result <- opened{nil, err}
			return
		}
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0")
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			})
		}}
		conn, err := lc.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", port))
		result <- opened{conn, err}
	}()
	r := <-result
	if r.err != nil {
		h.Fatal(r.err)
	}
	h.Cleanup(func() { r.conn.Close() })
	return r.conn.(*net.UDPConn)
}

// firmware sends a captured packet from the host's card, and returns the first
// reply that wanted accepts.
func (h *host) firmware(capture string, from int, to string, edit func(*dhcpv4.DHCPv4), wanted func(*dhcpv4.DHCPv4) bool) *dhcpv4.DHCPv4 {
	h.Helper()
	conn := h.socket(from)
	defer conn.Close()
	packet := changed(h.T, capture, func(p *dhcpv4.DHCPv4) {
		p.ClientHWAddr = h.mac.HardwareAddr()
		edit(p)
	})
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
	buf := make([]byte, 1500)
	for range 4 {
		if _, err := conn.WriteTo(packet, at); err != nil {
			h.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		for {
			n, err := conn.Read(buf)
			if err != nil {
				break
			}
			if reply, err := dhcpv4.FromBytes(buf[:n]); err == nil && wanted(reply) {
				return reply
			}
		}
	}
	h.Fatalf("no reply to %s sent to %s", capture, to)
	return nil
}
