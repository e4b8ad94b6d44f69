package bootserver

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"
)

// An unknown machine boots as far as telling what it is, and no further until
// it is listed.
func TestDiscover(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	stranger := l.Machines[0]
	unlisted := l.with(func(c *Config) {
		c.Networks[0].Unknown, c.Networks[0].Boot = Discover, Boot{Image: stranger.Image, KernelArgs: []string{"console=ttyS0"}}
		c.Machines = c.Machines[1:]
	})
	list := func(args ...string) Config {
		c := unlisted
		m := stranger
		m.Address, m.KernelArgs = netip.Addr{}, args
		c.Machines = append([]Machine{m}, c.Machines...)
		return c
	}
	l.Config = unlisted
	s := l.new(t)
	run(t, s)

	// It has an address from the pool.
	mac := stranger.MAC
	m := machine{T: t}
	offer := m.dhcp("ovmf-2022.11.discover.hex", func(p []byte) []byte { return p })
	address := offer[16:20]
	m.dhcp("ovmf-2022.11.request.hex", func(p []byte) []byte {
		return bytes.Replace(p, []byte{50, 4, 10, 77, 0, 100}, append([]byte{50, 4}, address...), 1)
	})
	if out, err := exec.Command("ip", "address", "add", net.IP(address).String()+"/32", "dev", "machine0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.http = http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: address}}).DialContext}}
	tells := func(want inventory.Order) {
		t.Helper()
		data, err := inventory.Inventory{Machine: mac.String(), Serial: "S1"}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if code, body := m.do("POST", inventory.Path, string(data)); code != http.StatusOK || !strings.Contains(body, `"`+string(want)+`"`) {
			t.Errorf("the server says %d %q; want %s", code, body, want)
		}
	}

	if _, script := m.do("GET", "/boot.ipxe?mac="+mac.String(), ""); !strings.Contains(script, " swarmboot.discover panic=30 console=ttyS0 ||") {
		t.Errorf("script =\n%s\nwant it to end in an inventory", script)
	}
	tells(inventory.Wait)
	tells(inventory.Wait)
	if code, _ := m.do("GET", bootargs.DescriptionPath(mac), ""); code == http.StatusOK {
		t.Error("a stranger was given a boot description")
	}
	if got := s.Machines()[0]; got.Stage != stage.Discovered || got.Image != "" || got.Condition != fleet.Stuck || !strings.Contains(got.Remedy, "adopt") {
		t.Errorf("status = %+v; want it discovered, without an image, and what to do", got)
	}
	if got := s.Strangers(); len(got) != 1 || got[0].Inventory == nil || got[0].Inventory.Serial != "S1" {
		t.Errorf("strangers = %+v; want its inventory", got)
	}

	if err := s.Reload(list("console=ttyS0", "quiet")); err != nil {
		t.Fatal(err)
	}
	tells(inventory.Restart) // with other arguments
	if err := s.Reload(list("console=ttyS0")); err != nil {
		t.Fatal(err)
	}
	tells(inventory.Boot) // it runs what it is to run
	if code, body := m.do("GET", bootargs.DescriptionPath(mac), ""); code != http.StatusOK {
		t.Errorf("description after the adoption = %d %s", code, body)
	}
	if got := s.Machines()[0]; got.Name != "m2" || got.Image != "lab@1" {
		t.Errorf("status = %+v; want it to be m2 with lab@1", got)
	}
	if got := s.Strangers(); len(got) != 0 {
		t.Errorf("strangers = %+v; want none after the adoption", got)
	}
}

// Where another server gives the addresses, this one learns them from what
// machines tell that one; and where it is to be silent, from the wire.
func TestDiscoverWhereAnotherServerGivesAddresses(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	stranger := newLab(t).Machines[0]
	for i, mode := range []Mode{Proxy, Off} {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t)
			l.Config = l.with(func(c *Config) {
				c.Networks[0].Mode, c.Networks[0].Pool = mode, Range{}
				c.Networks[0].Unknown, c.Networks[0].Boot = Discover, Boot{Image: stranger.Image}
				c.Machines = c.Machines[1:]
			})
			s := l.new(t)
			run(t, s)
			address := net.IPv4(10, 77, 0, byte(50+i)).To4()
			for _, command := range []string{
				"address add " + address.String() + "/32 dev machine0",
				"neighbour replace " + address.String() + " lladdr " + stranger.MAC.String() + " dev server0 nud permanent", // both ends are one host
			} {
				if mode == Proxy && strings.HasPrefix(command, "neighbour") {
					continue
				}
				if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
					t.Fatalf("ip %s: %v: %s", command, err, out)
				}
			}
			m := machine{T: t, http: http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: address}}).DialContext}}}
			tells := func(mac string) int {
				data, err := inventory.Inventory{Machine: mac, Serial: "S1"}.Encode()
				if err != nil {
					t.Fatal(err)
				}
				code, _ := m.do("POST", inventory.Path, string(data))
				return code
			}
			m.send("ovmf-2022.11.request.hex", func(p []byte) []byte {
				p = bytes.Replace(p, []byte{54, 4, 10, 77, 0, 1}, []byte{54, 4, 10, 77, 0, 9}, 1) // the other server
				return bytes.Replace(p, []byte{50, 4, 10, 77, 0, 100}, append([]byte{50, 4}, address...), 1)
			}).Close()
			code := 0
			for range 500 { // what a packet tells is noted a moment after it came
				if code = tells(stranger.MAC.String()); code == http.StatusOK {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if code != http.StatusOK {
				t.Fatalf("its inventory is refused: %d", code)
			}
			if code := tells("52:54:00:77:00:99"); code != http.StatusForbidden {
				t.Errorf("an inventory of another machine = %d; want it refused", code)
			}
			if got := s.Strangers(); len(got) != 1 || got[0].MAC != stranger.MAC.String() || got[0].Inventory == nil {
				t.Errorf("strangers = %+v; want it and its inventory", got)
			}
			if got, _ := s.Machine(stranger.MAC.String()); got.Address.String() != address.String() {
				t.Errorf("its address is %s; want %s", got.Address, address)
			}
		})
	}
}
