package bootserver

import (
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
)

// with is the lab's config after an edit; the lab's own stays as it is.
func (l lab) with(edit func(*Config)) Config {
	cfg := l.Config
	cfg.Networks, cfg.Machines = slices.Clone(cfg.Networks), slices.Clone(cfg.Machines)
	edit(&cfg)
	return cfg
}

// second puts another version of the lab's image into the catalogue.
func (l lab) second(t *testing.T, key envelope.Signer) images.Ref {
	t.Helper()
	m := l.image.Manifest
	m.Version = "2"
	parts := map[catalogue.Part]string{}
	for _, part := range catalogue.Parts {
		parts[part] = l.image.Path(part)
	}
	image, err := l.images.Add(t.Context(), key, m, parts)
	if err != nil {
		t.Fatal(err)
	}
	return image.Manifest.Ref()
}

// A boot that has begun goes on with the image that it began with, whatever is
// loaded meanwhile, and no request fails while that happens.
func TestReloadUnderLoad(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	other := l.second(t, l.key)
	s := l.new(t)
	run(t, s)
	m := machine{T: t}
	hw := l.Machines[0].MAC
	describes := func() string {
		t.Helper()
		code, sealed := m.do("GET", bootargs.DescriptionPath(hw), "")
		d, err := bootargs.OpenDescription([]envelope.PublicKey{l.key.Public()}, hw, []byte(sealed))
		if err != nil {
			t.Fatalf("description: %d, %v", code, err)
		}
		return d.Image
	}
	changed := l.with(func(c *Config) {
		for i := range c.Machines {
			c.Machines[i].Image = other
		}
	})

	m.do("GET", "/boot.ipxe?mac="+hw.String(), "")
	if err := s.Reload(changed); err != nil {
		t.Fatal(err)
	}
	if got := describes(); got != "lab@1" {
		t.Errorf("a machine in mid-boot is told of %s; want lab@1, whose kernel it runs", got)
	}
	if _, script := m.do("GET", "/boot.ipxe?mac="+hw.String(), ""); !strings.Contains(script, "boots lab@2") {
		t.Errorf("script after the reload =\n%s\nwant lab@2", script)
	}
	if got := describes(); got != "lab@2" {
		t.Errorf("a new boot is told of %s; want lab@2", got)
	}

	done := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, path := range []string{"/boot.ipxe?mac=" + hw.String(), bootargs.DescriptionPath(hw), "/images/" + l.image.Digest + "/kernel"} {
					if code, body := m.do("GET", path, ""); code != http.StatusOK {
						t.Errorf("%s while the config is reloaded: %d %s", path, code, body)
					}
				}
			}
		})
	}
	for i := range 40 {
		cfg := changed
		if i%2 == 0 {
			cfg = l.Config
		}
		if err := s.Reload(cfg); err != nil {
			t.Error(err)
		}
	}
	close(done)
	load.Wait()
}

// A config that cannot be put in force leaves everything as it is.
func TestReloadRefuses(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	s := l.new(t)
	run(t, s)
	for want, edit := range map[string]func(*Config){
		"is there twice": func(c *Config) { c.Machines = append(c.Machines, c.Machines[0]) },
		"nothing@1":      func(c *Config) { c.Machines[0].Image = images.Ref{Name: "nothing", Version: "1"} },
		"[server.http server.state] can only change with a restart": func(c *Config) { c.HTTPPort, c.State = 8080, "/elsewhere" },
		"[networks.lab.address] can only change with a restart":     func(c *Config) { c.Networks[0].Server = netip.MustParseAddr("10.77.0.2") },
		"[networks.lab.address6] can only change with a restart":    func(c *Config) { c.Networks[0].Server6 = netip.MustParseAddr("fd77::1") },
		"nowhere0": func(c *Config) { c.Networks[0].Interface = "nowhere0" },
	} {
		before := s.site.Load()
		if err := s.Reload(l.with(edit)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Reload = %v; want it to say %q", err, want)
		}
		if s.site.Load() != before {
			t.Errorf("after a reload that said %q another config is in force", want)
		}
	}
	if code, _ := (machine{T: t}).do("GET", "/boot.ipxe?mac=52:54:00:77:00:02", ""); code != http.StatusOK {
		t.Errorf("script after refused reloads = %d; want 200", code)
	}
}

// Machines come and go with the config; those that were heard of stay to be seen.
func TestReloadMachines(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	s := l.new(t)
	run(t, s)
	(machine{T: t}).dhcp("ovmf-2022.11.discover.hex", func(p []byte) []byte { return p })
	for s.Machines()[0].Stage == "" { // it is noted after the answer
		time.Sleep(time.Millisecond)
	}
	err := s.Reload(l.with(func(c *Config) {
		c.Machines = []Machine{{MAC: []byte{0x52, 0x54, 0, 0x77, 0, 9}, Name: "m9", Network: "lab", Boot: c.Machines[0].Boot}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range s.Machines() {
		names = append(names, m.Name)
	}
	if want := []string{"m2", "m9"}; !slices.Equal(names, want) {
		t.Errorf("machines after the reload = %v; want %v: m3 was never heard of", names, want)
	}
}

// Which keys are trusted while the server runs decides what is booted, and stands
// in the initramfs.
func TestTrust(t *testing.T) {
	l := newLab(t)
	other, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	own, both := []envelope.PublicKey{l.key.Public()}, []envelope.PublicKey{l.key.Public(), other.Public()}
	l.images.Trust(both)
	theirs := l.second(t, other)
	l.images.Trust(own)
	s := l.new(t)
	mac := l.Machines[0].MAC.String()
	alone := s.archive("amd64").Digest
	for _, c := range []struct {
		keys   []envelope.PublicKey
		boots  bool
		digest bool // as at the beginning
	}{{own, false, true}, {both, true, false}, {own, false, true}} {
		if err := s.Trust(c.keys); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Override(mac, theirs, false); (err == nil) != c.boots {
			t.Errorf("with %d keys, an image of the other one = %v", len(c.keys), err)
		}
		data, err := os.ReadFile(s.archive("amd64").File)
		if err != nil || images.Digest(data) != s.archive("amd64").Digest || (s.archive("amd64").Digest == alone) != c.digest {
			t.Errorf("with %d keys, the initramfs is %s, %v; at the beginning %s", len(c.keys), s.archive("amd64").Digest, err, alone)
		}
	}
}
