// Package lab boots a rack of virtual machines from a boot server on this
// computer, and shows how they come up.
//
// All of it is in one network namespace without a way out: the bridge, the boot
// server, which is this executable, and QEMU's machines (package vm). So a lab
// disturbs no server that runs here, and closing the namespace ends it. The
// server has a state folder of its own, to which images and keys are lent.
//
// Up (lab.go) starts the server (server.go), switches the machines on and follows
// them (follow.go) until it can tell what the boots took (summary.go); Add
// switches one more on, and Down ends it all, also from other processes.
// cmd/swarmboot is the caller.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
	"swarmboot/bootserver/loaders"
	"swarmboot/images/catalogue"
)

// namespace holds the lab; there is one on a computer.
const namespace = "swarmboot-lab"

var network = netip.MustParsePrefix("10.77.0.1/24")

// MaxMachines all have addresses below the pool.
const MaxMachines = 80

// Options say what a lab is made of.
type Options struct {
	State     state.Folder // of the image; it learns what its first boot reads
	Image     *catalogue.Image
	Loaders   string // folder of the loaders
	Initramfs string // file of the common initramfs
	Machines  int    // how many, 1 to MaxMachines
	Link      string // rate of the machines' cables, such as 100mbit; empty: no limit
	Once      bool   // stop everything when the last machine has all of its image
}

var rate = regexp.MustCompile(`^[1-9][0-9]*[kmg]bit$`)

// CheckLink looks at the rate of a cable.
func CheckLink(link string) error {
	if link != "" && !rate.MatchString(link) {
		return fmt.Errorf("--link %q: want a rate such as 100mbit or 1gbit", link)
	}
	return nil
}

// Validate tells what was asked for that no lab can be.
func (o Options) Validate() error {
	var machines error
	if o.Machines < 1 || o.Machines > MaxMachines {
		machines = fmt.Errorf("--machines %d: want a number from 1 to %d", o.Machines, MaxMachines)
	}
	return errors.Join(machines, CheckLink(o.Link))
}

// missing tells what is not there, and what brings it.
func (o Options) missing() error {
	if arch := o.Image.Manifest.Arch; arch != "amd64" {
		return fmt.Errorf("image %v is for %s; the lab's machines are amd64", o.Image.Manifest.Ref(), arch)
	}
	if loaders.Verify(o.Loaders) != nil {
		return fmt.Errorf("%s lacks loaders, or has others than the pinned ones; this brings them: swarmboot loaders fetch --dir %[1]s", o.Loaders)
	}
	if _, err := os.Stat(o.Initramfs); err != nil {
		return fmt.Errorf("the machines' initramfs: %w; the package brings it, and 'make build' among the sources makes build/initramfs.cpio.zst", err)
	}
	return nil
}

// A Lab is that of this computer, whether it is up or not.
type Lab struct {
	program string // this executable
	dir     string // settings, log, capture, state, and a folder for each machine
	out     *os.File
	client  *control.Client
}

// New finds out where the lab's files belong. What it does is told to out.
func New(out *os.File) (*Lab, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a place for the lab's files: %w", err)
	}
	l := &Lab{program: program, dir: filepath.Join(cache, "swarmboot", "lab"), out: out}
	l.client = control.NewClient(l.state().Socket())
	return l, nil
}

func (l *Lab) state() state.Folder { return state.Folder(filepath.Join(l.dir, "state")) }

// A machine of the lab is known by its number, from 1.
type machine int

func (m machine) Name() string         { return fmt.Sprintf("lab-%02d", int(m)) }
func (m machine) MAC() string          { return fmt.Sprintf("52:54:00:77:00:%02x", int(m)) }
func (m machine) Address() string      { return fmt.Sprintf("10.77.0.%d", 10+int(m)) }
func (l *Lab) folder(m machine) string { return filepath.Join(l.dir, m.Name()) }

// Firmware is BIOS for each third machine, UEFI for the others.
func (m machine) Firmware() vm.Firmware {
	if m%3 == 0 {
		return vm.BIOS
	}
	return vm.UEFI
}

// Up starts the boot server and the machines, and follows them until each has all
// of its image or is lost, which is an error. Then they go on running, unless o,
// which is valid, wants them once; those that are interrupted do not.
func (l *Lab) Up(ctx context.Context, o Options) (err error) {
	if err := errors.Join(vm.Missing(), o.missing()); err != nil {
		return err
	}
	if vm.Exists(namespace) {
		return fmt.Errorf("it is up already; stop it first: %s lab down", l.program)
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("remove the last lab's files: %w", err)
	}
	lan, err := vm.NewLAN(namespace, network, l.dir)
	if err != nil {
		return err
	}
	stays := false
	defer func() {
		if !stays {
			err = errors.Join(err, lan.Close())
		}
	}()
	machines := make([]machine, o.Machines)
	for i := range machines {
		machines[i] = machine(i + 1)
	}
	if err := l.serve(ctx, lan, o, machines); err != nil {
		return err
	}
	cables := "not limited"
	if o.Link != "" {
		cables = o.Link
	}
	fmt.Fprintf(l.out, "boot server at %v; machines that boot %v: %d, run by QEMU with %s, cables %s\n\n",
		network.Addr(), o.Image.Manifest.Ref(), len(machines), vm.Accel(), cables)
	for _, m := range machines {
		if err := l.powerOn(lan, m, o.Image, o.Link); err != nil {
			return err
		}
	}
	followed := l.follow(ctx, machines)
	if ctx.Err() != nil {
		fmt.Fprintln(l.out, "\ninterrupted; stopping the lab")
		return nil
	}
	if stays = !o.Once; stays {
		l.explain(machines[0])
	}
	return errors.Join(followed, learn(o.State, l.state(), o.Image))
}

// Add lists one more machine in the running server's settings, switches it on, with
// a cable of a rate that CheckLink has seen, and follows it.
func (l *Lab) Add(ctx context.Context, link string) error {
	if !vm.Exists(namespace) {
		return fmt.Errorf("the lab is not up; start it first: %s lab up", l.program)
	}
	m := machine(1)
	for ; ; m++ {
		if _, err := os.Stat(l.folder(m)); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if m > MaxMachines {
		return fmt.Errorf("the lab has %d machines already, which is the most", MaxMachines)
	}
	ref, err := l.list(ctx, m)
	if err != nil {
		return err
	}
	image, err := l.state().Image(ref)
	if err != nil {
		return err
	}
	if err := l.powerOn(vm.OpenLAN(namespace, l.dir), m, image, link); err != nil {
		return err
	}
	followed := l.follow(ctx, []machine{m})
	l.explain(m)
	return followed
}

// Down stops everything. The files stay until the next lab.
func (l *Lab) Down() error {
	if !vm.Exists(namespace) {
		fmt.Fprintln(l.out, "the lab is not up")
		return nil
	}
	if err := vm.OpenLAN(namespace, l.dir).Close(); err != nil {
		return err
	}
	fmt.Fprintln(l.out, "the lab is down")
	return nil
}

func (l *Lab) powerOn(lan *vm.LAN, m machine, image *catalogue.Image, link string) error {
	started, err := lan.Start(vm.MachineConfig{
		Name: m.Name(), MAC: m.MAC(), Firmware: m.Firmware(), Rate: link, Memory: vm.MemoryFor(image.Manifest.Root.Size),
	})
	if err != nil {
		return err
	}
	started.Detach()
	return nil
}

// learn has one state folder take over the profile of the image that another has,
// if it has one.
func learn(to, from state.Folder, image *catalogue.Image) error {
	if err := to.Learn(from, image.Digest); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// explain tells how to use a lab that stays up.
func (l *Lab) explain(m machine) {
	fmt.Fprintf(l.out, `
The lab stays up.
  log in to %[1]s    by ssh, if its image has a server for it:
                       ip netns exec %[2]s ssh -i %[3]s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@%[4]s
                       or on its console, if its image lets you in there (Ctrl-] leaves):
                       socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:%[5]s/console.sock
  watch the machines   %[6]s machine list --watch --state %[7]s
  read                 %[8]s (server.log, boot.pcap, lab-NN/console.log)
  add a machine        %[6]s lab add
  stop                 %[6]s lab down
`, m.Name(), namespace, l.sshKey(), m.Address(), l.folder(m), l.program, l.state(), l.dir)
}
