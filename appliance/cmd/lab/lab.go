package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
)

// namespace holds the lab; there is one on a computer.
const namespace = "swarmboot-lab"

var network = netip.MustParsePrefix("10.77.0.1/24")

// image is what the lab's machines boot; scripts/lab-images builds it.
const image = "lab@1"

// A lab knows where things are and what was asked for.
type lab struct {
	swarmboot, initramfs string // what make build has made
	loaders, state       string // folders that outlive the lab
	dir                  string // the running lab's own folder

	machines int
	link     string // rate of the cables
	keep     bool   // stays up

	client *control.Client
}

func newLab(env func(string) string) (*lab, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a place for the lab's files: %w", err)
	}
	cache = filepath.Join(cache, "swarmboot")
	build := filepath.Dir(filepath.Dir(exe))
	l := &lab{
		swarmboot: filepath.Join(build, "bin", "swarmboot"),
		initramfs: filepath.Join(build, "initramfs.cpio.zst"),
		loaders:   filepath.Join(cache, "loaders"),
		state:     filepath.Join(cache, "lab-state"),
		dir:       filepath.Join(cache, "lab"),
	}
	l.client = control.NewClient(state.Folder(l.state).Socket())
	return l, l.obey(env)
}

var rate = regexp.MustCompile(`^[1-9][0-9]*[kmg]bit$`)

// obey reads the LAB_ variables.
func (l *lab) obey(env func(string) string) error {
	l.machines, l.keep = 3, true
	if s := env("LAB_MACHINES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 80 {
			return fmt.Errorf("LAB_MACHINES=%s: want a number from 1 to 80", s)
		}
		l.machines = n
	}
	if l.link = env("LAB_LINK"); l.link != "" && !rate.MatchString(l.link) {
		return fmt.Errorf("LAB_LINK=%s: want a rate such as 100mbit or 1gbit", l.link)
	}
	switch s := env("LAB_KEEP"); s {
	case "", "1":
	case "0":
		l.keep = false
	default:
		return fmt.Errorf("LAB_KEEP=%s: want 0 or 1", s)
	}
	return nil
}

// A machine of the lab is known by its number, from 1.
type machine int

func (m machine) Name() string         { return fmt.Sprintf("lab-%02d", int(m)) }
func (m machine) MAC() string          { return fmt.Sprintf("52:54:00:77:00:%02x", int(m)) }
func (m machine) Address() string      { return fmt.Sprintf("10.77.0.%d", 10+int(m)) }
func (m machine) Image() string        { return image }
func (l *lab) folder(m machine) string { return filepath.Join(l.dir, m.Name()) }

// Firmware is BIOS for each third machine, UEFI for the others.
func (m machine) Firmware() vm.Firmware {
	if m%3 == 0 {
		return vm.BIOS
	}
	return vm.UEFI
}

// up is the whole life of a lab.
func (l *lab) up(ctx context.Context) (err error) {
	if missing := vm.Missing(); len(missing) > 0 {
		return fmt.Errorf("this computer lacks %s; scripts/install-deps brings packages", strings.Join(missing, ", "))
	}
	if vm.Exists(namespace) {
		return errors.New("it is up already; stop it first: make lab-down")
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("remove the last lab's files: %w", err)
	}
	// The machines are new ones. Those of the last lab, which the server remembers
	// with their leases, would count as booted before they are switched on.
	if err := os.RemoveAll(filepath.Join(l.state, "leases.db")); err != nil {
		return fmt.Errorf("forget the last lab's machines: %w", err)
	}
	lan, err := vm.NewLAN(namespace, network, l.dir)
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, lan.Close())
		}
	}()
	machines := make([]machine, l.machines)
	for i := range machines {
		machines[i] = machine(i + 1)
	}
	if err := l.serve(ctx, lan, machines); err != nil {
		return err
	}
	fmt.Printf("boot server at %v; %d machines, run by QEMU with %s, cables %s\n\n", network.Addr(), len(machines), vm.Accel(), l.cables())
	if err := l.powerOn(lan, machines); err != nil {
		return err
	}
	followed := l.follow(ctx, machines)
	if ctx.Err() != nil {
		fmt.Println("\ninterrupted; stopping the lab")
		return nil
	}
	if keep = l.keep; keep {
		l.explain(machines)
	}
	return followed
}

// add puts one more machine into the running lab.
func (l *lab) add(ctx context.Context) error {
	if !vm.Exists(namespace) {
		return errors.New("the lab is not up; start it first: make lab")
	}
	m := machine(1)
	for ; ; m++ {
		if _, err := os.Stat(l.folder(m)); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if err := l.powerOn(vm.OpenLAN(namespace, l.dir), []machine{m}); err != nil {
		return err
	}
	followed := l.follow(ctx, []machine{m})
	l.explain([]machine{m})
	return followed
}

// down stops everything. The files stay until the next lab.
func (l *lab) down(context.Context) error {
	if !vm.Exists(namespace) {
		fmt.Println("the lab is not up")
		return nil
	}
	if err := vm.OpenLAN(namespace, l.dir).Close(); err != nil {
		return err
	}
	fmt.Println("the lab is down")
	return nil
}

var settings = template.Must(template.New("lab.yaml").Parse(`# The lab's boot server. A machine that is not listed gets the default image.
server:
  state: {{.State}}
  loaders: {{.Loaders}}
  initramfs: {{.Initramfs}}
networks:
  lab:
    interface: {{.Interface}}
    address: {{.Network}}
    pool: 10.77.0.100-10.77.0.199
defaults:
  image: {{.Image}}
  kernel_args: console=ttyS0 loglevel=4 mitigations=off panic=10
unknown: default
machines:
{{- range .Machines}}
  - mac: {{.MAC}}
    name: {{.Name}}
    image: {{.Image}}
    address: {{.Address}}
{{- end}}
`))

// serve starts the boot server and waits until it answers.
func (l *lab) serve(ctx context.Context, lan *vm.LAN, machines []machine) error {
	var text strings.Builder
	if err := settings.Execute(&text, map[string]any{
		"Interface": vm.Bridge, "Network": network, "Machines": machines, "Image": image,
		"State": l.state, "Loaders": l.loaders, "Initramfs": l.initramfs,
	}); err != nil {
		return err
	}
	config, logName := filepath.Join(l.dir, "lab.yaml"), filepath.Join(l.dir, "server.log")
	if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write the server's settings: %w", err)
	}
	answers := func(ctx context.Context) error { _, err := l.client.Machines(ctx); return err }
	_, err := lan.Serve(ctx, answers, logName, l.swarmboot, "serve", "--config", config)
	return err
}

func (l *lab) powerOn(lan *vm.LAN, machines []machine) error {
	for _, m := range machines {
		started, err := lan.Start(vm.MachineConfig{Name: m.Name(), MAC: m.MAC(), Firmware: m.Firmware(), Rate: l.link})
		if err != nil {
			return err
		}
		started.Detach()
	}
	return nil
}

func (l *lab) cables() string {
	if l.link == "" {
		return "not limited"
	}
	return l.link
}

// explain tells how to use a lab that stays up.
func (l *lab) explain(machines []machine) {
	addresses := map[string]string{}
	if list, err := l.client.Machines(context.Background()); err == nil {
		for _, m := range list {
			addresses[m.MAC] = fmt.Sprint(m.Address)
		}
	}
	m := machines[0]
	fmt.Printf(`
The lab stays up.
  log in to %[1]s    on its console (root, no password; Ctrl-] leaves):
                       socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:%[2]s/console.sock
                       or by ssh:
                       ip netns exec %[3]s ssh -i %[4]s/ssh_key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@%[5]s
  watch the machines   %[6]s machine list --watch --state %[4]s
  read                 %[7]s (server.log, boot.pcap, lab-NN/console.log)
  add a machine        make lab-add
  stop                 make lab-down
`, m.Name(), l.folder(m), namespace, l.state, addresses[m.MAC()], l.swarmboot, l.dir)
}
