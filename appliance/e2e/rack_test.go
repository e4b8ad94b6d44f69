package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
	"swarmboot/bootserver/fleet"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

const lanPrefix = "swarmboot-e2e"

var network = netip.MustParsePrefix("10.77.0.1/24")

func TestMain(m *testing.M) {
	if file := os.Getenv(receiverFile); file != "" { // this is the program that TestTelling has started
		fmt.Fprintln(os.Stderr, receive(file))
		os.Exit(1)
	}
	if os.Getenv("SWARMBOOT_E2E") == "1" {
		if err := vm.RemoveLeftovers(lanPrefix); err != nil {
			fmt.Fprintln(os.Stderr, "remove what a killed run has left:", err)
		}
	}
	os.Exit(m.Run())
}

// needs skips a test of the whole that was not asked for, and fails one that
// was asked for and cannot run.
func needs(t *testing.T) {
	t.Helper()
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("tests the programs in build/; run it by make e2e, which sets SWARMBOOT_E2E=1")
	}
	if err := vm.Missing(); err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, file := range []string{swarmbootProgram(t), initramfsFile(t), filepath.Join(cache(t), "loaders"), filepath.Join(cache(t), "lab-state")} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		t.Fatalf("missing: %s; make e2e brings it", strings.Join(missing, ", "))
	}
}

func swarmbootProgram(t *testing.T) string { return built(t, "bin/swarmboot") }
func initramfsFile(t *testing.T) string    { return built(t, "initramfs.cpio.zst") }

func built(t *testing.T, name string) string {
	path, err := filepath.Abs(filepath.Join("../../build", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// cache is the folder of what outlives a checkout: loaders, and the images and
// keys that scripts/lab-images has made.
func cache(t *testing.T) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "swarmboot")
}

// swarmboot runs the program and returns what it prints and its exit status.
func swarmboot(t *testing.T, args ...string) (output string, status int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), swarmbootProgram(t), args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

// A machine is one entry of the settings.
type machine struct {
	Name, MAC, Image string
	KernelArgs       string // besides those that make it talk on the serial port
	Loader           string // empty: the usual one
	More             string // further lines of its entry
}

// A rack is a boot server and its machines on a network of their own.
type rack struct {
	t      *testing.T
	lan    *vm.LAN
	dir    string
	proxy  bool    // another DHCP server gives the addresses
	dual   bool    // machines have IPv6 addresses besides
	image  string  // of machines that the settings do not name
	more   string  // further sections of the settings
	far    *vm.LAN // where the boot server is, if not on the machines' LAN: behind a relay
	server *server
	powers map[string]*vm.Machine // by MAC
}

var racks atomic.Int32

// newRack starts a boot server with settings for machines, which offers the
// lab's images.
func newRack(t *testing.T, machines ...machine) *rack {
	t.Helper()
	needs(t)
	return newRackOf(t, labState(t), machines...)
}

// newRackBeside is the same on a network where dnsmasq gives the addresses.
func newRackBeside(t *testing.T, machines ...machine) *rack {
	t.Helper()
	needs(t)
	folder := labState(t)
	r := emptyRack(t, folder)
	r.proxy = true
	r.dnsmasq()
	r.server = r.serve(folder, machines)
	return r
}

// newRackDual is the same on a network with IPv6 besides IPv4.
func newRackDual(t *testing.T, machines ...machine) *rack {
	t.Helper()
	needs(t)
	folder := labState(t)
	r := emptyRack(t, folder)
	r.dual = true
	if err := r.lan.AddAddress(netip.MustParsePrefix("fd77::1/64")); err != nil {
		t.Fatal(err)
	}
	r.server = r.serve(folder, machines)
	return r
}

// labState makes a state folder with the lab's keys and images.
func labState(t *testing.T) string {
	t.Helper()
	folder := newState(t)
	if err := os.Symlink(filepath.Join(cache(t), "lab-state", "images"), filepath.Join(folder, "images")); err != nil {
		t.Fatal(err)
	}
	return folder
}

// newState makes a state folder with the lab's keys, and no images.
func newState(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(filepath.Join(folder, "keys"), os.DirFS(filepath.Join(cache(t), "lab-state", "keys"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(folder, "keys", "swarmboot.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// newRackOf starts a boot server on a state folder.
func newRackOf(t *testing.T, folder string, machines ...machine) *rack {
	t.Helper()
	r := emptyRack(t, folder)
	r.server = r.serve(folder, machines)
	return r
}

// emptyRack is a network without a boot server, whose files will lie beside its
// state folder.
func emptyRack(t *testing.T, folder string) *rack {
	t.Helper()
	r := &rack{t: t, dir: filepath.Dir(folder), powers: map[string]*vm.Machine{}}
	lan, err := vm.NewLAN(vm.TempName(lanPrefix, int(racks.Add(1))), network, filepath.Join(r.dir, "lan"))
	if err != nil {
		t.Fatal(err)
	}
	r.lan = lan
	t.Cleanup(r.end)
	return r
}

// dnsmasq starts another DHCP server, which knows nothing of booting, on a card
// of its own on the same wire.
func (r *rack) dnsmasq() {
	r.t.Helper()
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		r.t.Skip("needs dnsmasq (package dnsmasq-base)")
	}
	const card = "dns"
	if err := r.lan.Attach(card, netip.MustParsePrefix("10.77.0.2/24")); err != nil {
		r.t.Fatal(err)
	}
	ready := func(context.Context) error {
		if log, _ := os.ReadFile(filepath.Join(r.dir, "dnsmasq.log")); !strings.Contains(string(log), "started") {
			return errors.New("dnsmasq has not started")
		}
		return nil
	}
	if _, err := r.lan.Serve(r.t.Context(), ready, filepath.Join(r.dir, "dnsmasq.log"), "dnsmasq",
		"--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--port=0",
		"--interface="+card, "--bind-interfaces", "--no-ping", "--dhcp-authoritative",
		"--dhcp-leasefile="+filepath.Join(r.dir, "dnsmasq.leases"), "--dhcp-range=10.77.0.50,10.77.0.99,1h"); err != nil {
		r.t.Fatal(err)
	}
}

// end stops everything, and keeps what tells why the test has failed.
func (r *rack) end() {
	if r.t.Failed() {
		for _, m := range r.powers {
			r.t.Logf("last words of %s:\n%s", m.Config.Name, m.Console.Tail(15))
		}
	}
	if err := r.lan.Close(); err != nil {
		r.t.Error(err)
	}
	if !r.t.Failed() {
		return
	}
	kept := r.t.ArtifactDir()
	for _, pattern := range []string{"*.yaml", "*.log", "lan/*.pcap", "lan/*/*.log"} {
		files, _ := filepath.Glob(filepath.Join(r.dir, pattern))
		for _, file := range files {
			name := strings.ReplaceAll(strings.TrimPrefix(file, r.dir+"/"), "/", "-")
			if data, err := os.ReadFile(file); err != nil || os.WriteFile(filepath.Join(kept, name), data, 0o644) != nil {
				r.t.Logf("%s could not be kept", name)
			}
		}
	}
	r.t.Logf("consoles, capture, and the server's log and settings are in %s", kept)
}

// A server is a running boot server.
type server struct {
	t      *testing.T
	state  state.Folder
	client *control.Client
	log    string // file
	*vm.Service
}

var settings = template.Must(template.New("settings").Parse(`server:
  state: {{.State}}
  loaders: {{.Loaders}}
  initramfs: {{.Initramfs}}
networks:
{{- if .Relayed}}
  uplink:
    interface: {{.Interface}}
    address: 10.88.0.2/24
    mode: "off"
{{- end}}
  lab:
{{- if .Relayed}}
    subnet: 10.77.0.0/24
    server: 10.88.0.2
    router: 10.77.0.1
{{- else}}
    interface: {{.Interface}}
    address: {{.Network}}
{{- end}}
{{- if .Proxy}}
    mode: proxy
{{- else}}
    pool: 10.77.0.100-10.77.0.199
{{- end}}
{{- if .Dual}}
    address6: fd77::1/64
    pool6: fd77::100-fd77::1ff
{{- end}}
defaults:
  # loglevel=4: only what is wrong; the console is slow where it is emulated.
  kernel_args: console=ttyS0 loglevel=4 mitigations=off
{{- with .Image}}
  image: {{.}}
{{- end}}
machines:
{{- range .Machines}}
  - mac: {{.MAC}}
    name: {{.Name}}
    image: {{.Image}}
    network: lab
    kernel_args: {{.KernelArgs}}
{{- with .Loader}}
    loader: {{.}}
{{- end}}
{{- .More}}
{{- end}}
{{.More}}`))

// serve starts a boot server on a state folder and waits until it answers.
func (r *rack) serve(folder string, machines []machine) *server {
	r.t.Helper()
	var text bytes.Buffer
	if err := settings.Execute(&text, map[string]any{
		"Interface": vm.Bridge, "Network": network, "Proxy": r.proxy, "Dual": r.dual, "Relayed": r.far != nil, "Machines": machines, "Image": r.image, "More": r.more,
		"State": folder, "Loaders": filepath.Join(cache(r.t), "loaders"), "Initramfs": initramfsFile(r.t),
	}); err != nil {
		r.t.Fatal(err)
	}
	config := folder + ".yaml"
	if err := os.WriteFile(config, text.Bytes(), 0o644); err != nil {
		r.t.Fatal(err)
	}
	s := &server{t: r.t, state: state.Folder(folder), log: folder + ".log"}
	s.client = control.NewClient(s.state.Socket())
	answers := func(ctx context.Context) error { _, err := s.client.Machines(ctx); return err }
	var err error
	lan := r.lan
	if r.far != nil {
		lan = r.far
	}
	if s.Service, err = lan.Serve(r.t.Context(), answers, s.log, swarmbootProgram(r.t), "serve", "--config", config); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// stop sends sig and returns how long the server took to end, and how it did.
func (s *server) stop(sig syscall.Signal) (took time.Duration, err error) {
	s.t.Helper()
	begun := time.Now()
	if err := s.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(s.t.Context(), 30*time.Second, fmt.Errorf("nothing happened for 30 s after %v", sig))
	defer cancel()
	err = s.Wait(ctx)
	if ctx.Err() != nil {
		s.t.Fatal(err)
	}
	return time.Since(begun), err
}

// machine is what the server knows of a machine.
func (s *server) machine(t *testing.T, mac string) fleet.MachineStatus {
	t.Helper()
	list, err := s.client.Machines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.MAC == mac {
			return m
		}
	}
	return fleet.MachineStatus{}
}

// wait returns when the machine has reached a stage. It fails when nothing that
// the server knows of the machine has changed for vm.Stall.
func (s *server) wait(t *testing.T, mac string, until stage.Stage) fleet.MachineStatus {
	t.Helper()
	last, changed := "", time.Now()
	for tick := time.Tick(300 * time.Millisecond); ; <-tick {
		m := s.machine(t, mac)
		// By Times: a small image is complete before its machine is ready.
		if !m.Times[until].IsZero() {
			return m
		}
		if m.Stage == stage.Failed {
			t.Fatalf("wait for %s of %s: failed at %s: %s", until, mac, m.At, m.Reason)
		}
		m.Heard = time.Time{}
		now, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if string(now) != last {
			last, changed = string(now), time.Now()
		}
		if time.Since(changed) > vm.Stall {
			t.Fatalf("wait for %s of %s: nothing has changed for %v: %s", until, mac, vm.Stall, now)
		}
	}
}

// logged waits for a line of the server's log that has all words in it.
func (s *server) logged(t *testing.T, words ...string) {
	t.Helper()
	deadline := time.After(vm.Stall)
	for tick := time.Tick(200 * time.Millisecond); ; <-tick {
		data, err := os.ReadFile(s.log)
		if err != nil {
			t.Fatal(err)
		}
	lines:
		for line := range strings.Lines(string(data)) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the server's log has no line with %q; it ends:\n%s", words, vm.LogTail(s.log, 20))
		default:
		}
	}
}

// image is what the server's catalogue says of an image.
func (s *server) image(t *testing.T, name string) *catalogue.Image {
	t.Helper()
	ref, err := images.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.state.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	image, err := c.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// powerOn switches a machine on.
func (r *rack) powerOn(cfg vm.MachineConfig) *vm.Machine {
	r.t.Helper()
	m, err := r.lan.Start(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.powers[cfg.MAC] = m
	return m
}

// lost is what a console says of a machine that will not reach login, or only
// after somebody has done something.
var lost = regexp.MustCompile(`THIS MACHINE CANNOT BOOT|Swarmboot: stage kernel:|Kernel panic|emergency mode`)

func waitLogin(t *testing.T, m *vm.Machine) {
	t.Helper()
	if err := m.Console.WaitLogin(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
}

// login waits for the login prompt and logs in.
func login(t *testing.T, m *vm.Machine) {
	t.Helper()
	waitLogin(t, m)
	if err := m.Console.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// run runs a command on the machine, which must end with status 0, and returns
// its output.
func run(t *testing.T, c *vm.Console, command string) string {
	t.Helper()
	result, err := c.Run(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != 0 {
		t.Fatalf("on the machine, %s: status %d: %s", command, result.Status, result.Output)
	}
	return result.Output
}

func setRate(t *testing.T, m *vm.Machine, rate string) {
	t.Helper()
	if err := m.SetRate(rate); err != nil {
		t.Fatal(err)
	}
}

// promise runs one part of a story, under the name of what is promised. Without
// it the rest of the story makes no sense.
func promise(t *testing.T, what string, kept func(*testing.T)) {
	t.Helper()
	if !t.Run(what, kept) {
		t.FailNow()
	}
}
