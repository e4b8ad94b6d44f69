// Package training boots an image once, on a machine and a network that exist
// for nothing else, to learn what a boot of it reads.
//
// The machine is QEMU's, the boot server is this executable, both in a network
// namespace without a way out; so an image can be trained beside a server that
// runs, and before any machine boots it. What was learned is what the boot
// server keeps of every traced boot: the profile, by which later machines fetch
// first what a boot reads first, and the order of the files.
//
// swarmboot image train is the only caller.
package training

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
	"swarmboot/bootserver/fleet"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

// Options say what to train.
type Options struct {
	State     state.Folder // of the image; it learns
	Image     *catalogue.Image
	Loaders   string // folder of the loaders
	Initramfs string // file of the common initramfs
	Memory    int    // of the machine, MiB; 0: enough for the lab's system and the image

	Progress func(step string) // told what the machine does
}

// A Result is what a boot has read until its login.
type Result struct {
	Took    time.Duration // from the first packet to the login
	Touched int           // pieces
	Files   int
}

const (
	namespace = "swarmboot-train"
	name      = "training"
	mac       = "52:54:00:77:0a:01"
)

var network = netip.MustParsePrefix("10.77.0.1/24")

// Train boots the image. It must run as root, and says what else is missing.
func Train(ctx context.Context, o Options) (result Result, err error) {
	if err := vm.Missing(); err != nil {
		return Result{}, fmt.Errorf("an image is trained by booting it in QEMU: %w", err)
	}
	if err := vm.RemoveLeftovers(namespace); err != nil {
		return Result{}, fmt.Errorf("remove what a killed training has left: %w", err)
	}
	dir, err := os.MkdirTemp("", "swarmboot-train-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	lan, err := vm.NewLAN(vm.TempName(namespace, 1), network, filepath.Join(dir, "lan"))
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, lan.Close()) }()

	folder := state.Folder(filepath.Join(dir, "state"))
	if err := o.State.Lend(folder); err != nil {
		return Result{}, err
	}
	client := control.NewClient(folder.Socket())
	if err := serve(ctx, o, folder, client, lan); err != nil {
		return Result{}, err
	}
	memory := o.Memory
	if memory == 0 {
		memory = vm.MemoryFor(o.Image.Manifest.Root.Size)
	}
	machine, err := lan.Start(vm.MachineConfig{Name: name, MAC: mac, Firmware: firmware(o.Image.Manifest.Arch), Memory: memory})
	if err != nil {
		return Result{}, err
	}
	status, err := follow(ctx, client, o.Progress, func() bool {
		files, err := folder.Trace(o.Image.Digest)
		result.Files = len(files)
		return err == nil
	})
	if err != nil {
		return Result{}, fmt.Errorf("%w; the last words of its console:\n%s", err, machine.Console.Tail(15))
	}
	result.Took = status.Times[stage.Ready].Sub(status.Times[stage.DHCP])
	result.Touched = status.AtReady.TouchedHave
	return result, o.State.Learn(folder, o.Image.Digest)
}

// firmware is that of a machine with a processor of that kind.
func firmware(arch string) vm.Firmware {
	if arch == "arm64" {
		return vm.ARM64
	}
	return vm.BIOS // the quickest: its network card brings iPXE along
}

var config = template.Must(template.New("settings").Parse(`server:
  state: {{.State}}
  loaders: {{.Loaders}}
  initramfs: {{.Initramfs}}
networks:
  training: {interface: {{.Interface}}, address: {{.Network}}, pool: 10.77.0.100-10.77.0.199}
machines:
  - mac: {{.MAC}}
    name: {{.Name}}
    image: {{.Image}}
    kernel_args: console=ttyS0 loglevel=4 swarmboot.trace
`))

// serve starts the boot server, which ends with the LAN.
func serve(ctx context.Context, o Options, folder state.Folder, client *control.Client, lan *vm.LAN) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := config.Execute(&text, map[string]any{
		"State": settings.Quote(string(folder)), "Loaders": settings.Quote(o.Loaders), "Initramfs": settings.Quote(o.Initramfs),
		"Interface": vm.Bridge, "Network": network, "MAC": mac, "Name": name, "Image": o.Image.Manifest.Ref(),
	}); err != nil {
		return err
	}
	file := string(folder) + ".yaml"
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return err
	}
	answers := func(ctx context.Context) error { _, err := client.Machines(ctx); return err }
	_, err = lan.Serve(ctx, answers, string(folder)+".log", program, "serve", "--config", file)
	return err
}

// follow waits until the machine is ready and its trace has arrived. It fails
// when the machine does, or when nothing about it has changed for vm.Stall.
func follow(ctx context.Context, client *control.Client, progress func(string), traced func() bool) (fleet.MachineStatus, error) {
	sign, changed := "", time.Now()
	for tick := time.NewTicker(300 * time.Millisecond); ; {
		list, err := client.Machines(ctx)
		if err != nil {
			return fleet.MachineStatus{}, err
		}
		m := list[0] // the only one
		if m.Stage == stage.Failed {
			return m, fmt.Errorf("the machine has failed at %s: %s", m.At, m.Reason)
		}
		if m.AtReady != nil && traced() {
			return m, nil
		}
		have := 0
		if m.Progress != nil {
			have = m.Progress.Have
		}
		if now := fmt.Sprint(m.Stage, have); now != sign {
			sign, changed = now, time.Now()
			progress(step(m.Stage))
		}
		if time.Since(changed) > vm.Stall {
			return m, fmt.Errorf("the machine stands at %q for %v", m.Stage, vm.Stall)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return m, context.Cause(ctx)
		}
	}
}

// step says in words what a machine at a stage does.
func step(s stage.Stage) string {
	switch {
	case s == "":
		return "power-on"
	case s == stage.SwitchRoot:
		return "the image's init runs"
	case s.Index() >= stage.Ready.Index():
		return "the trace of its files"
	}
	return "stage " + string(s)
}
