package settings

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver"
	"swarmboot/images"
	"swarmboot/images/origin"
)

var update = flag.Bool("update", false, "rewrite what testdata expects")

// lab offers the images lab@1 and lab12@1, whatever the state folder.
func lab(string) ([]images.Ref, error) {
	return []images.Ref{{Name: "lab", Version: "1"}, {Name: "lab12", Version: "1"}}, nil
}

const small = `networks:
  lab: {interface: br0, address: 10.77.0.1/24, pool: 10.77.0.100-10.77.0.199}
`

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

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
	one, twelve := images.Ref{Name: "lab", Version: "1"}, images.Ref{Name: "lab12", Version: "1"}
	a1 := bootserver.Boot{Image: one, KernelArgs: []string{"console=ttyS0", "root=x", "quiet"}, Loader: "ipxe"}
	want := bootserver.Config{
		Networks: []bootserver.Network{{
			Name: "hall", Interface: "br0", Server: addr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), Mode: bootserver.Full,
			Pool: bootserver.Range{First: addr("10.77.0.100"), Last: addr("10.77.0.199")}, Router: addr("10.77.0.254"),
			Server6: addr("fd77::1"), Subnet6: netip.MustParsePrefix("fd77::/64"), Pool6: bootserver.Range{First: addr("fd77::100"), Last: addr("fd77::1ff")},
			DNS: []netip.Addr{addr("9.9.9.9"), addr("10.77.0.254")}, NTP: []netip.Addr{addr("10.77.0.254")}, Log: []netip.Addr{addr("10.77.0.253")},
			Domain: "hall.example.org", Routes: []bootserver.Route{{To: netip.MustParsePrefix("10.80.0.0/16"), Via: addr("10.77.0.253")}},
			Lease: 90 * time.Minute, Unknown: bootserver.Default, Boot: bootserver.Boot{Image: one, KernelArgs: []string{"console=ttyS0", "net=hall"}},
		}, {
			Name: "annex", Server: addr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.78.0.0/24"), Mode: bootserver.Reservations, Router: addr("10.78.0.254"),
			Server6: addr("fd77::1"), Subnet6: netip.MustParsePrefix("fd78::/64"),
			Lease: 24 * time.Hour, Unknown: bootserver.Deny, Boot: bootserver.Boot{Image: one, KernelArgs: []string{"console=ttyS0"}},
		}},
		Machines: []bootserver.Machine{
			{MAC: []byte{0x52, 0x54, 0, 0x77, 0, 1}, Name: "r1-n01", Rack: "r1", Group: "web", Network: "hall", Address: addr("10.77.0.11"), Address6: addr("fd77::11"),
				Boot: bootserver.Boot{Image: twelve, KernelArgs: []string{"console=ttyS0", "net=hall", "rack=1", "quiet", "loglevel=3"},
					AuthorizedKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIGcbDa5Gj1FZPl+UcfA7nQZDF9l6q8c9+dB9G9uCZFh anna@example.org"},
					Files: []bootserver.File{
						bootserver.NewFile("/etc/motd", 0o644, "This is r1-n01 in rack r1.\n"), bootserver.NewFile("/etc/web/key", 0o600, "a secret\n"),
					},
					UserData: bootserver.NewFile(filepath.Join(filepath.Dir(loaders), "web.cloud"), 0o600, "#cloud-config\n"), NetworkSetup: bootserver.DHCPSetup, BootFromPeers: true, Cache: "swarmboot-cache", Persistent: "swarmboot-writes", PersistentOver: bootserver.OverImage}},
			{MAC: []byte{0x52, 0x54, 0, 0x77, 0, 2}, Network: "hall", Boot: bootserver.Boot{Image: one, KernelArgs: []string{"console=ttyS0", "net=hall"}, Install: "nvme0n1"}},
			{MAC: []byte{0x52, 0x54, 0, 0x78, 0, 1}, Name: "a1-n08", Rack: "a1", Network: "annex", Address: addr("10.78.0.8"), Boot: a1},
			{MAC: []byte{0x52, 0x54, 0, 0x78, 0, 2}, Name: "a1-n09", Rack: "a1", Network: "annex", Address: addr("10.78.0.9"), Boot: a1},
			{MAC: []byte{0x52, 0x54, 0, 0x78, 0, 3}, Name: "a1-n10", Rack: "a1", Network: "annex", Address: addr("10.78.0.10"), Boot: a1},
		},
		HTTPPort: 8080, SwarmPort: 6882,
		State: "/var/lib/swarmboot", Loaders: loaders, Initramfs: "/boot/initramfs.cpio.zst",
		Origin: origin.Config{URL: "s3:https://s3.example.org/images/swarmboot", Credentials: filepath.Join(filepath.Dir(loaders), "origin.credentials"), Poll: 5 * time.Minute},
	}
	if !reflect.DeepEqual(got.Config, want) {
		t.Errorf("Load(%s) =\n%+v; want\n%+v", path, got.Config, want)
	}
}

func TestDefaults(t *testing.T) {
	got, err := parse("/etc/swarmboot.yaml", []byte(small+"machines:\nunknown:\n"), lab)
	if err != nil {
		t.Fatal(err)
	}
	want := bootserver.Config{
		Networks: []bootserver.Network{{
			Name: "lab", Interface: "br0", Server: addr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), Mode: bootserver.Full,
			Pool:  bootserver.Range{First: addr("10.77.0.100"), Last: addr("10.77.0.199")},
			Lease: 24 * time.Hour, Unknown: bootserver.Deny,
		}},
		HTTPPort: 80, SwarmPort: 6881, State: "/var/lib/swarmboot",
		Loaders: "/usr/lib/swarmboot/loaders", Initramfs: "/usr/lib/swarmboot/initramfs.cpio.zst",
	}
	if !reflect.DeepEqual(got.Config, want) {
		t.Errorf("parse =\n%+v; want\n%+v", got.Config, want)
	}
}

// TestMistakes checks for each file of testdata/mistakes that every mistake is
// told, at its place, and nothing else is. What is told stands at the file's
// end, in comments.
func TestMistakes(t *testing.T) {
	const mark = "#> "
	files, err := filepath.Glob(filepath.Join("testdata", "mistakes", "*.yaml"))
	if err != nil || len(files) < 50 {
		t.Fatalf("found %d files, %v; want 50 at least", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var settings, want string
			for line := range strings.Lines(string(data)) {
				if told, found := strings.CutPrefix(line, mark); found {
					want += told
				} else {
					settings += line
				}
			}
			_, err = parse(name, []byte(settings), lab)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("parse = %v; want Problems", err)
			}
			got := problems.Error() + "\n"
			if *update {
				told := mark + strings.ReplaceAll(strings.TrimSuffix(got, "\n"), "\n", "\n"+mark) + "\n"
				if err := os.WriteFile(file, []byte(settings+told), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("parse told\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestRangesOfNames(t *testing.T) {
	for text, want := range map[string]string{
		"n1":              "n1",
		"r1-n[08-11]":     "r1-n08 r1-n09 r1-n10 r1-n11",
		"r[1,3]-n[1-2]":   "r1-n1 r1-n2 r3-n1 r3-n2",
		"n[1-2,7,09-10]x": "n1x n2x n7x n09x n10x",
	} {
		if got, err := ExpandName(text); err != nil || strings.Join(got, " ") != want {
			t.Errorf("ExpandName(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
}

// An image that cannot be trusted, or read, is told where it is wanted, and keeps
// nobody from the others.
func TestImageThatIsNotOffered(t *testing.T) {
	some := func(string) ([]images.Ref, error) {
		return []images.Ref{{Name: "lab", Version: "1"}}, errors.New("image lab@2: not signed by a trusted key")
	}
	for _, c := range []struct{ image, want string }{
		{"lab@1", ""},
		{"lab@2", "f.yaml:4:19: defaults.image: no image lab@2 in /s; there are lab@1; image lab@2: not signed by a trusted key"},
	} {
		_, err := parse("f.yaml", []byte(small+"server: {state: /s}\ndefaults: {image: "+c.image+"}\n"), some)
		if got := fmt.Sprint(err); err == nil && c.want != "" || err != nil && got != c.want {
			t.Errorf("parse with %s = %v; want %q", c.image, err, c.want)
		}
	}
}

func TestCatalogueThatCannotBeRead(t *testing.T) {
	unreadable := func(string) ([]images.Ref, error) { return nil, errors.New("disk gone\nentirely") }
	_, err := parse("f.yaml", []byte(small+"server: {state: /s}\ndefaults: {image: lab@1}\n"), unreadable)
	if want := "f.yaml:3:17: server.state: disk gone; entirely"; err == nil || err.Error() != want {
		t.Errorf("parse = %v; want %s", err, want)
	}
}

func TestLoadMissingFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "no.yaml"), lab); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load = %v; want ErrNotExist", err)
	}
}

// FuzzParse looks for a file that the decoder cannot stand, for a mistake that
// the boot server finds and its author is told without a place, and for a
// Config without what the boot server relies on.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "mistakes", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range append(seeds, filepath.Join("testdata", "full.yaml")) {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(small))
	f.Add([]byte("a: &a [*a]\nmachines: *a\n"))
	f.Add([]byte("networks: &s {lab: *s}\nmachines: [~, {mac: ~}, x]\n"))
	f.Add([]byte("? [a]\n: b\n--- {}\n..."))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse("f.yaml", data, lab)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("parse = %#v; want Problems", err)
			}
			for _, p := range problems {
				if p.Line == 0 && !strings.HasPrefix(p.Text, "no valid YAML") {
					t.Errorf("told without a place: %v", p)
				}
			}
			return
		}
		for _, m := range s.Machines {
			if len(m.MAC) != 6 || m.Image.IsZero() {
				t.Errorf("accepted machine %+v", m)
			}
		}
		for _, n := range s.Networks {
			if !n.Server.Is4() || !n.Subnet.IsValid() {
				t.Errorf("accepted network %+v", n)
			}
		}
	})
}
