package settings

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver"
	"swarmboot/images"
)

// lab offers the images lab@1 and lab12@1, whatever the state folder.
func lab(string) ([]images.Ref, error) {
	return []images.Ref{{Name: "lab", Version: "1"}, {Name: "lab12", Version: "1"}}, nil
}

const small = `server: {interface: br0, address: 10.77.0.1/24}
network: {pool: 10.77.0.100-10.77.0.199}
`

func TestLoad(t *testing.T) {
	path := filepath.Join("testdata", "full.yaml")
	got, err := Load(path, lab)
	if err != nil {
		t.Fatal(err)
	}
	loaders, err := filepath.Abs(filepath.Join("testdata", "loaders"))
	if err != nil {
		t.Fatal(err)
	}
	ref := images.Ref{Name: "lab", Version: "1"}
	want := bootserver.Config{
		Networks: []bootserver.Network{{
			Name: "br0", Interface: "br0", Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), Mode: bootserver.Full,
			Pool:   bootserver.Range{First: netip.MustParseAddr("10.77.0.100"), Last: netip.MustParseAddr("10.77.0.199")},
			Router: netip.MustParseAddr("10.77.0.254"), DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}, Lease: 90 * time.Minute,
			Unknown: bootserver.Default, Boot: bootserver.Boot{Image: ref, KernelArgs: []string{"console=ttyS0"}, Rescue: true},
		}},
		Machines: []bootserver.Machine{
			{MAC: []byte{0x52, 0x54, 0, 0x77, 0, 1}, Name: "r1-n01", Network: "br0", Address: netip.MustParseAddr("10.77.0.11"),
				Boot: bootserver.Boot{Image: images.Ref{Name: "lab12", Version: "1"}, KernelArgs: []string{"console=ttyS0", "quiet", "loglevel=3"}, Rescue: true}},
			{MAC: []byte{0x52, 0x54, 0, 0x77, 0, 2}, Network: "br0", Boot: bootserver.Boot{Image: ref, KernelArgs: []string{"console=ttyS0"}, Rescue: true}},
		},
		HTTPPort: 8080, SwarmPort: 6882,
		State: "/var/lib/swarmboot", Loaders: loaders, Initramfs: "/boot/initramfs.cpio.zst",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Load(%s) =\n%+v; want\n%+v", path, got, want)
	}
}

func TestDefaults(t *testing.T) {
	got, err := parse("/etc/swarmboot.yaml", []byte(small+"machines:\nunknown:\n"), lab)
	if err != nil {
		t.Fatal(err)
	}
	want := bootserver.Config{
		Networks: []bootserver.Network{{
			Name: "br0", Interface: "br0", Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), Mode: bootserver.Full,
			Pool:  bootserver.Range{First: netip.MustParseAddr("10.77.0.100"), Last: netip.MustParseAddr("10.77.0.199")},
			Lease: 24 * time.Hour, Unknown: bootserver.Deny,
		}},
		HTTPPort: 80, SwarmPort: 6881, State: "/var/lib/swarmboot",
		Loaders: "/usr/lib/swarmboot/loaders", Initramfs: "/usr/lib/swarmboot/initramfs.cpio.zst",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parse =\n%+v; want\n%+v", got, want)
	}
}

// TestMistakes checks that every mistake of a file is told, at its place, and
// nothing else is.
func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		want       []string
	}{
		{"wrong type and duplicate MAC", small + `machines:
  - {mac: 52:54:00:77:00:01, image: lab@1}
  - {mac: 52:54:00:77:00:01, image: lab@1, address: [1, 2]}
`, []string{
			`f.yaml:5:11: machines[1].mac: 52:54:00:77:00:01 is in line 4 already, as machines[0].mac`,
			`f.yaml:5:53: machines[1].address: found a list; want a single value`,
		}},
		{"unknown image and address outside the network", small + `machines:
  - {mac: 52:54:00:77:00:01, image: lba@1}
  - {mac: 52:54:00:77:00:02, image: lab@1, address: 10.78.0.9}
`, []string{
			`f.yaml:4:37: machines[0].image: no image lba@1 in /var/lib/swarmboot; there are lab12@1, lab@1`,
			`f.yaml:5:53: machines[1].address: 10.78.0.9 is outside the network 10.77.0.0/24`,
		}},
		{"malformed MACs", small + `machines:
  - {mac: zz, image: lab@1}
  - {mac: 02:00:5e:10:00:00:00:01, image: lab@1}
  - {mac: 01:00:5e:00:00:01, image: lab@1}
  - {image: lab@1}
`, []string{
			`f.yaml:4:11: machines[0].mac: "zz" is no MAC address; want six hex bytes such as 52:54:00:12:34:56`,
			`f.yaml:5:11: machines[1].mac: "02:00:5e:10:00:00:00:01" is no MAC address; want six hex bytes such as 52:54:00:12:34:56`,
			`f.yaml:6:11: machines[2].mac: 01:00:5e:00:00:01 is a group address; want that of one network card`,
			`f.yaml:7:5: machines[3].mac: is missing; a machine is known by the MAC address it boots with`,
		}},
		{"names and addresses of two", small + `machines:
  - {mac: 52:54:00:77:00:01, image: lab@1, name: a, address: 10.77.0.11}
  - {mac: 52:54:00:77:00:02, image: lab@1, name: a, address: 10.77.0.11}
  - {mac: 52:54:00:77:00:03, image: lab@1, name: A_}
`, []string{
			`f.yaml:5:50: machines[1].name: a is in line 4 already, as machines[0].name`,
			`f.yaml:5:62: machines[1].address: 10.77.0.11 is in line 4 already, as machines[0].address`,
			`f.yaml:6:50: machines[2].name: "A_" is no host name; want lower-case letters, digits and dashes, 63 at most`,
		}},
		{"addresses that no machine can have", small + `default_image: lab@1
machines:
  - {mac: 52:54:00:77:00:01, address: 10.77.0.1}
  - {mac: 52:54:00:77:00:02, address: 10.77.0.0}
  - {mac: 52:54:00:77:00:03, address: 10.77.0.255}
  - {mac: 52:54:00:77:00:04, address: 10.77.0.150}
`, []string{
			`f.yaml:5:39: machines[0].address: 10.77.0.1 is the server's own address`,
			`f.yaml:6:39: machines[1].address: 10.77.0.0 is the address of the network itself`,
			`f.yaml:7:39: machines[2].address: 10.77.0.255 is the network's broadcast address`,
			`f.yaml:8:39: machines[3].address: 10.77.0.150 is in the pool 10.77.0.100-10.77.0.199; take one that no other machine can be given`,
		}},
		{"unknown and duplicate keys", `servr: {}
server:
  interface: br0
  address: 10.77.0.1/24
  adress: 10.77.0.2/24
  interface: br1
network: {colour: blue}
`, []string{
			`f.yaml:1:1: servr: no such setting; did you mean "server"?`,
			`f.yaml:5:3: server.adress: no such setting; did you mean "address"?`,
			`f.yaml:6:3: server.interface: is set in line 3 already`,
			`f.yaml:7:11: network.colour: no such setting; there are dns, lease, pool, router`,
		}},
		{"nothing", "", []string{
			`f.yaml:1:1: server.interface: is missing; name the network card that the machines are on, such as eth1`,
			`f.yaml:1:1: server.address: is missing; give the server's own address with its network, such as 10.77.0.1/24`,
		}},
		{"values", `server: {interface: "", address: 10.77.0.1, http: 70000}
network: {pool: 10.77.0.9-10.77.0.2, router: a, dns: [b], lease: 24}
unknown: maybe
rescue: perhaps
default_image: Lab
`, []string{
			`f.yaml:1:21: server.interface: is empty; give a value, or leave the setting out`,
			`f.yaml:1:34: server.address: "10.77.0.1" is no IPv4 address with its network; want one such as 10.77.0.1/24`,
			`f.yaml:1:51: server.http: "70000" is no port; want a number from 1 to 65535`,
			`f.yaml:2:17: network.pool: "10.77.0.9-10.77.0.2" ends before it begins`,
			`f.yaml:2:46: network.router: "a" is no IPv4 address; want one such as 10.77.0.11`,
			`f.yaml:2:55: network.dns[0]: "b" is no IPv4 address; want one such as 10.77.0.11`,
			`f.yaml:2:66: network.lease: "24" is no duration; want one such as 24h or 90m`,
			`f.yaml:3:10: unknown: "maybe" is no policy; want deny or default`,
			`f.yaml:4:9: rescue: "perhaps" is neither true nor false`,
			`f.yaml:5:16: default_image: image "Lab": want name@version`,
		}},
		{"the network", `server: {interface: br0, address: 10.77.0.255/24}
network: {lease: 5s}
`, []string{
			`f.yaml:1:35: server.address: 10.77.0.255 is the network's or its broadcast address; give the server's own`,
			`f.yaml:2:18: network.lease: 5s is shorter than a boot; use at least 1m`,
		}},
		{"a pool outside", `server: {interface: br0, address: 10.77.0.1/24}
network: {pool: 10.77.0.200-10.77.1.20, router: 10.78.0.1}
`, []string{
			`f.yaml:2:17: network.pool: 10.77.1.20 is outside the network 10.77.0.0/24`,
			`f.yaml:2:49: network.router: 10.78.0.1 is outside the network 10.77.0.0/24`,
		}},
		{"a pool with the router in it", `server: {interface: br0, address: 10.77.0.1/24}
network: {pool: 10.77.0.2-10.77.0.20, router: 10.77.0.2}
`, []string{`f.yaml:2:17: network.pool: holds 10.77.0.2, which the server or the router has`}},
		{"default without an image, no pool", `server: {interface: br0, address: 10.77.0.1/24}
unknown: default
machines:
  - mac: 52:54:00:77:00:01
`, []string{
			`f.yaml:1:1: default_image: is missing; unknown: default needs it`,
			`f.yaml:4:5: machines[0].address: is missing, and there is no network.pool to take one from`,
		}},
		{"our kernel arguments", small + `kernel_args: "quiet swarmboot.server=http://10.0.0.1"
`, []string{`f.yaml:3:14: kernel_args: swarmboot.server=http://10.0.0.1 is set by the boot server; leave it out`}},
		{"what the boot server refuses", small + `kernel_args: "quiet ${x}"
`, []string{`f.yaml: network br0: kernel argument "${x}": want one word for each argument, without ${, and not || or &&`}},
		{"no mapping", "- a\n", []string{`f.yaml:1:1: found a list; want a group of settings`}},
		{"no YAML", "server:\n  interface: [br0\nnetwork: {}\n", []string{`f.yaml:2: no valid YAML: did not find expected ',' or ']'`}},
		{"no YAML, as the scanner sees it", "server:\n  a: b: c\n", []string{`f.yaml:2: no valid YAML: mapping values are not allowed in this context`}},
		{"two documents", small + "---\nunknown: deny\n", []string{`f.yaml:3:1: a second document begins; put all settings into one`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse("f.yaml", []byte(c.yaml), lab)
			var got []string
			var problems Problems
			if errors.As(err, &problems) {
				got = strings.Split(problems.Error(), "\n")
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("parse told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestCatalogueThatCannotBeRead(t *testing.T) {
	unreadable := func(string) ([]images.Ref, error) { return nil, errors.New("disk gone\nentirely") }
	_, err := parse("f.yaml", []byte(small+"state: /s\ndefault_image: lab@1\n"), unreadable)
	if want := "f.yaml:3:8: state: disk gone; entirely"; err == nil || err.Error() != want {
		t.Errorf("parse = %v; want %s", err, want)
	}
}

func TestLoadMissingFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "no.yaml"), lab); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load = %v; want ErrNotExist", err)
	}
}

// FuzzParse looks for a file that the decoder cannot stand, and for a Config
// without what the boot server relies on.
func FuzzParse(f *testing.F) {
	full, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(small))
	f.Add([]byte("a: &a [*a]\nmachines: *a\n"))
	f.Add([]byte("server: &s {interface: *s}\nmachines: [~, {mac: ~}, x]\n"))
	f.Add([]byte("? [a]\n: b\n--- {}\n..."))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := parse("f.yaml", data, lab)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Errorf("parse = %#v; want Problems", err)
			}
			return
		}
		for _, m := range cfg.Machines {
			if len(m.MAC) != 6 || m.Image.IsZero() || m.Address.IsValid() && !cfg.Networks[0].Subnet.Contains(m.Address) {
				t.Errorf("accepted machine %+v", m)
			}
		}
		if n := cfg.Networks[0]; !n.Server.Is4() || n.Interface == "" {
			t.Errorf("accepted network %+v", n)
		}
	})
}
