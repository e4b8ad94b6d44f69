package storm

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A hall is the cables of one run: machines and a server on one switch, in
// network namespaces that are gone when the run ends.
type hall struct {
	t        testing.TB
	prefix   string
	machines int
}

// The server is end 0 of the switch, machine i is end i.
const serverEnd = 0

// newHall connects machines and a server. rate is that of each cable in each
// direction, in bits per second; 0 leaves them as fast as the computer.
func newHall(t testing.TB, machines int, rate int64) *hall {
	t.Helper()
	h := &hall{t: t, prefix: fmt.Sprintf("storm-%d-", os.Getpid()), machines: machines}
	h.run("ip link set lo up")
	h.run("ip link add switch type bridge")
	t.Cleanup(func() { h.run("ip link del switch") })
	h.run("ip link set switch up")
	for end := range machines + 1 {
		ns, plug := h.namespace(end), h.plug(end)
		h.run("ip netns add " + ns)
		t.Cleanup(func() { h.run("ip netns del " + ns) })
		h.run("ip link add " + plug + " type veth peer name eth0 netns " + ns)
		t.Cleanup(func() { h.run("ip link del " + plug) }) // the namespace would end it only later
		h.run("ip link set " + plug + " master switch up")
		h.run("ip -n " + ns + " link set lo up")
		h.run("ip -n " + ns + " addr add " + h.address(end) + "/16 brd + dev eth0")
		h.run("ip -n " + ns + " link set eth0 up")
		h.run("ip -n " + ns + " route add 224.0.0.0/4 dev eth0") // udpcast
		// What a Debian system does, whatever this computer does.
		h.run("ip -n " + ns + " route replace 10.99.0.0/16 dev eth0 src " + h.address(end) + " congctl cubic")
		if rate > 0 {
			// Packets of up to 16 KiB save the computer's time and are 5 ms at
			// 25 Mbit/s. The switch's queue for a machine is five pieces, as 1.2 MB
			// are with cables of 1 Gbit/s and pieces of 256 KiB. A machine loses
			// nothing of its own; its network card takes what it can send.
			const shape = " root tbf burst 20kb rate %dbit limit %d"
			h.run("ip link set " + plug + " gso_max_size 16384")
			h.run("ip -n " + ns + " link set eth0 gso_max_size 16384")
			h.run("tc qdisc add dev " + plug + fmt.Sprintf(shape, rate, 5*pieceLength))
			h.run("tc -n " + ns + " qdisc add dev eth0" + fmt.Sprintf(shape, rate, 2<<20))
		}
	}
	return h
}

func (h *hall) namespace(end int) string { return h.prefix + strconv.Itoa(end) }
func (h *hall) plug(end int) string      { return "plug" + strconv.Itoa(end) }
func (h *hall) address(end int) string   { return fmt.Sprintf("10.99.0.%d", end+1) }

func (h *hall) run(command string) {
	h.t.Helper()
	words := strings.Fields(command)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// traffic is what an end has sent and received so far, in bytes.
type traffic struct{ sent, received int64 }

// traffic reads the switch's counters. Its ends hear what machines send.
func (h *hall) traffic() []traffic {
	h.t.Helper()
	f, err := os.Open("/proc/thread-self/net/dev")
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	all := make([]traffic, h.machines+1)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, counters, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		number, ours := strings.CutPrefix(name, "plug")
		end, err := strconv.Atoi(number)
		if !ours || err != nil {
			continue
		}
		fields := strings.Fields(counters) // 8 of receiving, then 8 of sending
		all[end].sent, _ = strconv.ParseInt(fields[0], 10, 64)
		all[end].received, _ = strconv.ParseInt(fields[8], 10, 64)
	}
	return all
}
