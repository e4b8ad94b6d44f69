package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// dhcpServer starts a DHCP server with an empty lease file on disk.
type dhcpServer struct {
	name  string
	pace  int // exchanges per second that it surely keeps up with
	start func(dir string) *server
}

func (b *bench) dhcpServers() []dhcpServer {
	kea := func(threads int) func(string) *server {
		return func(dir string) *server {
			b.write(dir, "kea.json", fmt.Sprintf(`{"Dhcp4": {
				"interfaces-config": {"interfaces": [%q], "dhcp-socket-type": "raw"},
				"lease-database": {"type": "memfile", "persist": true, "lfc-interval": 0, "name": %q},
				"multi-threading": {"enable-multi-threading": %t, "thread-pool-size": %d},
				"valid-lifetime": 86400,
				"subnet4": [{"id": 1, "subnet": "10.88.0.0/16", "interface": %q, "pools": [{"pool": "10.88.1.0 - 10.88.250.255"}]}],
				"loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": %q}]}]
			}}`, serverEnd, filepath.Join(dir, "leases.csv"), threads > 1, threads, serverEnd, filepath.Join(dir, "kea.log")))
			return b.wire.start(dir, "udp:67", "kea-dhcp4", "-c", filepath.Join(dir, "kea.json"))
		}
	}
	return []dhcpServer{
		{"swarmboot", 1000, func(dir string) *server { return b.swarmboot(dir, "udp:67") }},
		{"Kea, 1 thread", 1000, kea(1)},
		{"Kea, 2 threads", 1000, kea(2)},
		{"dnsmasq", 100, func(dir string) *server {
			return b.wire.start(dir, "udp:67", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
				"--interface="+serverEnd, "--bind-interfaces", "--pid-file="+filepath.Join(dir, "pid"),
				"--dhcp-range=10.88.1.0,10.88.250.255,24h", "--dhcp-lease-max=65536", "--no-ping",
				"--dhcp-leasefile="+filepath.Join(dir, "leases"), "--log-facility="+filepath.Join(dir, "dnsmasq.log"))
		}},
	}
}

// An outcome is what perfdhcp tells of a run.
type outcome struct {
	offered, answered int     // DISCOVERs sent, ACKs received
	seconds           float64 // of the run
}

func (o outcome) goodput() float64 { return float64(o.answered) / o.seconds }
func (o outcome) lost() float64    { return 1 - float64(o.answered)/float64(max(o.offered, 1)) }

var (
	packets  = regexp.MustCompile(`(sent|received) packets: (\d+)`)
	allReady = regexp.MustCompile(`It took (\d+):(\d+):([\d.]+) to provision`)
)

// perfdhcp offers a number of exchanges in each second, of 20,000 machines in
// turn, and waits half a second for each answer.
func (b *bench) perfdhcp(rate, seconds int) outcome {
	b.t.Helper()
	out := b.client("perfdhcp", "-4", "-l", clientEnd, "-r", strconv.Itoa(rate), "-R", "20000",
		"-p", strconv.Itoa(seconds), "-W", "500000", serverAddr.String())
	found := packets.FindAllSubmatch(out, -1) // sent, received of DISCOVER; the same of REQUEST
	if len(found) < 4 {
		b.t.Fatalf("perfdhcp says:\n%s", out)
	}
	number := func(i int) int {
		n, _ := strconv.Atoi(string(found[i][2]))
		return n
	}
	return outcome{offered: number(0), answered: number(3), seconds: float64(seconds)}
}

// client runs a program at the machines' end.
func (b *bench) client(command ...string) []byte {
	b.t.Helper()
	// Its exit status only says whether all were answered.
	out, err := exec.CommandContext(b.t.Context(), filepath.Join(b.wire.rivals, "run"), command...).CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		b.t.Fatal(err)
	}
	return out
}

// dhcp runs all loads on one server after the other.
func (b *bench) dhcp() {
	for range rounds {
		for _, d := range b.dhcpServers() {
			b.with(d.start, func(s *server) {
				b.perfdhcp(d.pace, 1) // warm
				before := s.cpu()
				o := b.perfdhcp(d.pace, 4)
				b.add("DHCP", "CPU per exchange", d.name, "µs", 1e6*(s.cpu()-before)/float64(max(o.answered, 1)))
			})
			b.with(d.start, func(s *server) {
				out := b.client("perfdhcp", "-4", "-l", clientEnd, "--scenario", "avalanche", "-R", "1000", serverAddr.String())
				found := allReady.FindSubmatch(out)
				if found == nil {
					b.t.Fatalf("%s: perfdhcp's avalanche says:\n%s", d.name, out)
				}
				seconds, err := strconv.ParseFloat(string(found[3]), 64)
				if err != nil {
					b.t.Fatal(err)
				}
				minutes, _ := strconv.Atoi(string(found[2]))
				b.add("DHCP", "1,000 machines at once, until all have leases", d.name, "s", float64(60*minutes)+seconds)
			})
		}
	}
	for _, d := range b.dhcpServers() {
		b.with(d.start, func(s *server) {
			clean, peak := 0, 0.0
			for _, rate := range []int{d.pace, 2 * d.pace, 4 * d.pace, 6 * d.pace, 8 * d.pace} {
				o := b.perfdhcp(rate, 3)
				if o.lost() < 0.01 {
					clean = rate
				}
				peak = max(peak, o.goodput())
				b.t.Logf("%s at %d/s: %.0f answered, %.1f %% lost", d.name, rate, o.goodput(), 100*o.lost())
			}
			b.add("DHCP", "clean rate (under 1 % lost)", d.name, "/s", float64(clean))
			b.add("DHCP", "peak goodput", d.name, "/s", peak)
			over := b.perfdhcp(int(4*peak), 3)
			b.add("DHCP", "goodput at 4 x the peak, of the peak", d.name, "%", 100*over.goodput()/peak)
			b.add("DHCP", "memory at 4 x the peak", d.name, "MiB", s.memory())
		})
	}
}

// swarmboot starts the boot server as an admin would, with an image to boot.
func (b *bench) swarmboot(dir, port string) *server {
	for _, part := range []string{"images", "keys"} {
		if err := os.Symlink(filepath.Join(b.cache, "lab-state", part), filepath.Join(dir, part)); err != nil {
			b.t.Fatal(err)
		}
	}
	b.write(dir, "swarmboot.yaml", fmt.Sprintf(`server:
  state: %s
  loaders: %s
  initramfs: %s
networks:
  hall:
    interface: %s
    address: %s/16
    pool: 10.88.1.0-10.88.250.255
defaults:
  image: lab@1
unknown: default
`, dir, b.loaders, b.initramfs, serverEnd, serverAddr))
	return b.wire.start(dir, port, b.program, "serve", "--config", filepath.Join(dir, "swarmboot.yaml"))
}

func (b *bench) write(dir, name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// with runs a load on a server in a folder of its own.
func (b *bench) with(start func(dir string) *server, load func(*server)) {
	b.t.Helper()
	dir, err := os.MkdirTemp(b.dir, "")
	if err != nil {
		b.t.Fatal(err)
	}
	s := start(dir)
	load(s)
	s.stop()
	if err := os.RemoveAll(dir); err != nil {
		b.t.Error(err)
	}
}
