package storm

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A floor is the cables of a run: so many machines, in so many racks.
type floor struct {
	machines int
	rate     int64 // of each cable in each direction, bits per second
	racks    int   // with a switch of their own; 0: all machines are on the server's
	uplink   int64 // of each rack
}

// unshaped cables are as fast as the computer.
const unshaped = -1

// A hall is a floor with its cables laid: machines and a server on switches, in
// network namespaces that are gone when the run ends.
type hall struct {
	floor
	t      testing.TB
	prefix string
}

// The server is end 0 of the switch, machine i is end i.
const serverEnd = 0

// lay connects machines and a server.
func (f floor) lay(t testing.TB) *hall {
	t.Helper()
	h := &hall{floor: f, t: t, prefix: fmt.Sprintf("storm-%d-", os.Getpid())}
	h.run("ip link set lo up")
	h.addSwitch(h.switchOf(serverEnd))
	for rack := range h.racks {
		to := rackSwitch(rack)
		h.addSwitch(to)
		inner, outer := fmt.Sprint("up", rack), fmt.Sprint("core", rack)
		h.run("ip link add " + outer + " type veth peer name " + inner)
		t.Cleanup(func() { h.run("ip link del " + outer) })
		h.run("ip link set " + outer + " master " + h.switchOf(serverEnd) + " up")
		h.run("ip link set " + inner + " master " + to + " up")
		h.shape("", outer, h.uplink, queue(h.uplink))
		h.shape("", inner, h.uplink, queue(h.uplink))
	}
	for end := range h.machines + 1 {
		ns, plug := h.namespace(end), plug(end)
		h.run("ip netns add " + ns)
		t.Cleanup(func() { h.run("ip netns del " + ns) })
		h.run("ip link add " + plug + " type veth peer name eth0 address " + h.mac(end) + " netns " + ns)
		t.Cleanup(func() { h.run("ip link del " + plug) }) // the namespace would end it only later
		h.run("ip link set " + plug + " master " + h.switchOf(end) + " up")
		h.run("ip -n " + ns + " link set lo up")
		h.run("ip -n " + ns + " addr add " + h.address(end) + "/16 brd + dev eth0")
		h.run("ip -n " + ns + " link set eth0 up")
		h.run("ip -n " + ns + " route add 224.0.0.0/4 dev eth0") // udpcast
		// What a Debian system does, whatever this computer does.
		h.run("ip -n " + ns + " route replace 10.99.0.0/16 dev eth0 src " + h.address(end) + " congctl cubic")
		if h.rate != unshaped {
			h.shape("", plug, h.rate, queue(h.rate))
			// A machine loses nothing of its own; its network card takes what it can send.
			h.shape("-n "+ns, "eth0", h.rate, max(2<<20, queue(h.rate)))
		}
	}
	for end := range h.machines + 1 {
		h.introduce(end)
	}
	return h
}

// introduce tells an end all others' MAC addresses. All namespaces of a computer
// share one table of those that were asked for, with room for 1024, and 32
// machines and a server have 1056: some could not reach others.
func (h *hall) introduce(end int) {
	h.t.Helper()
	var neighbours strings.Builder
	for other := range h.machines + 1 {
		if other != end {
			fmt.Fprintf(&neighbours, "neigh add %s lladdr %s dev eth0\n", h.address(other), h.mac(other))
		}
	}
	ip := exec.Command("ip", "-n", h.namespace(end), "-batch", "-")
	ip.Stdin = strings.NewReader(neighbours.String())
	if out, err := ip.CombinedOutput(); err != nil {
		h.t.Fatalf("tell end %d its neighbours: %v: %s", end, err, out)
	}
}

func (h *hall) addSwitch(name string) {
	h.t.Helper()
	h.run("ip link add " + name + " type bridge")
	h.t.Cleanup(func() { h.run("ip link del " + name) })
	h.run("ip link set " + name + " up")
}

// queue is how many bytes wait before a link at most: five pieces of the usual
// image, as 1.2 MB are with cables of 1 Gbit/s and pieces of 256 KiB.
func queue(rate int64) int64 { return max(5*usual.pieceLength, rate/8/100) }

// shape slows down what a device sends. Packets of up to 16 KiB save the
// computer's time and are 5 ms at 25 Mbit/s; fast links have larger ones.
func (h *hall) shape(where, device string, rate, queue int64) {
	h.t.Helper()
	packet := min(max(16<<10, rate/8/1000), 64<<10)
	h.run(fmt.Sprintf("ip %s link set %s gso_max_size %d", where, device, packet))
	h.run(fmt.Sprintf("tc %s qdisc add dev %s root tbf burst %d rate %dbit limit %d", where, device, packet*5/4, rate, queue))
}

func (h *hall) namespace(end int) string { return h.prefix + strconv.Itoa(end) }

// rackOf is the rack of an end, from 0; -1: it is beside the core, or there are none.
func (h *hall) rackOf(end int) int {
	if end == serverEnd || h.racks == 0 {
		return -1
	}
	return (end - 1) * h.racks / h.machines
}

func (h *hall) switchOf(end int) string { return rackSwitch(h.rackOf(end)) }

func rackSwitch(rack int) string {
	if rack < 0 {
		return "core"
	}
	return fmt.Sprint("rack", rack)
}

func plug(end int) string { return "plug" + strconv.Itoa(end) }

// address tells by its third number in which rack an end stands.
func (h *hall) address(end int) string { return fmt.Sprintf("10.99.%d.%d", h.rackOf(end)+1, end+1) }

// mac is the address of an end's network card.
func (h *hall) mac(end int) string { return fmt.Sprintf("52:54:00:99:00:%02x", end) }

// rackName is the rack that an address tells of.
func rackName(a netip.Addr) string {
	if n := a.As4()[2]; n > 0 {
		return fmt.Sprint("rack", n)
	}
	return ""
}

func (h *hall) run(command string) {
	h.t.Helper()
	words := strings.Fields(command)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// traffic is what an end has sent and received so far, in bytes.
type traffic struct{ sent, received int64 }

// counters are what cables and computer have done so far.
type counters struct {
	at     time.Time
	ends   []traffic
	core   int64   // bytes that entered racks
	worked float64 // seconds of this computer's processors
}

// received is what the machines have received since before.
func (c counters) received(before counters) (bytes int64) {
	for end := serverEnd + 1; end < len(c.ends); end++ {
		bytes += c.ends[end].received - before.ends[end].received
	}
	return bytes
}

// count reads the counters. A switch hears what machines send.
func (h *hall) count() counters {
	h.t.Helper()
	c := counters{ends: make([]traffic, h.machines+1)}
	cards, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(cards)) {
		name, numbers, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields := strings.Fields(numbers) // 8 of receiving, then 8 of sending
		if len(fields) < 9 {
			continue
		}
		heard, _ := strconv.ParseInt(fields[0], 10, 64)
		sent, _ := strconv.ParseInt(fields[8], 10, 64)
		if strings.HasPrefix(name, "core") && name != rackSwitch(-1) {
			c.core += sent
		}
		number, ours := strings.CutPrefix(name, "plug")
		if end, err := strconv.Atoi(number); ours && err == nil {
			c.ends[end] = traffic{sent: heard, received: sent}
		}
	}
	c.at, c.worked = time.Now(), worked(h.t)
	return c
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
