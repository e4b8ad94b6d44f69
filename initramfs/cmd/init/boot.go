package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/internal/handover"
	"swarmboot/initramfs/internal/modules"
	"swarmboot/initramfs/internal/netup"
	"swarmboot/initramfs/stage"
)

const (
	keysDir         = "/etc/swarmboot/keys"
	descriptionFile = bootargs.LocalDescription // verified; for peerd
	busybox         = "/bbin/bb"                // all programs of the initramfs
	firstStage      = stage.Init
)

// rootModules is what a root over FUSE is made of, whatever the hardware.
var rootModules = []string{"fuse", "loop", "squashfs", "overlay"}

// boot is what one machine knows about its boot so far.
type boot struct {
	console *consoles
	next    stage.Stage // not reached yet; a failure is told as being there
	args    bootargs.Args
	image   string             // name@version, once known
	own     *bootargs.Identity // nil until the server has given it: it does so once in each boot
	server  *stage.Client      // nil until the network is up
}

// attempt goes through the whole boot. It returns only with an error, and then
// what it mounted is unmounted, what it started has ended.
func (b *boot) attempt(ctx context.Context) error {
	b.image = ""
	b.enter(firstStage)
	keys, err := b.prepare()
	if err != nil {
		return err
	}
	drivers, err := modules.Open()
	if err != nil {
		return err
	}
	if err := drivers.Load(rootModules...); err != nil {
		return err
	}
	if b.args.Local {
		return b.attemptLocal(ctx, drivers)
	}

	b.enter(stage.Network)
	lease, err := b.connect(ctx, drivers)
	if err != nil {
		return err
	}

	b.enter(stage.Swarm) // peerd reports it
	description, err := b.describe(ctx, keys)
	if err != nil {
		return err
	}
	identity, err := b.identify(ctx, keys)
	if err != nil {
		return err
	}
	if err := b.prepareDisk(drivers, description, identity); err != nil {
		return err
	}
	peerd, err := startPeerd(b.args)
	if err != nil {
		return err
	}
	defer peerd.Stop()
	if err := peerd.WaitReady(b.console.Progress); err != nil {
		return err
	}

	b.enter(stage.Root)
	b.console.Say("peerd serves the image")
	layer, err := b.openWrites(drivers, description.Writes)
	if err != nil {
		return err
	}
	root, err := b.mountRoot(peerd, layer, handover.Furniture{Name: description.Name, ResolvConf: lease.ResolvConf(), Busybox: busybox, Identity: identity})
	if err != nil {
		return err
	}
	b.reached(ctx, stage.Root)

	b.enter(stage.SwitchRoot)
	b.console.Say("root mounted; starting the init of %s", b.image)
	b.reached(ctx, stage.SwitchRoot)
	if b.args.Trace {
		if err := startTracer(b.args, b.image, root.Path()); err != nil {
			b.console.Say("this boot is not traced: %v", err)
		}
	}
	if err := peerd.Ended(); err != nil {
		return errors.Join(err, root.Unmount())
	}
	b.console.HandOver()
	return root.Switch()
}

// prepare reads what the boot server put into kernel arguments and initramfs.
func (b *boot) prepare() ([]envelope.PublicKey, error) {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, fmt.Errorf("kernel command line: %w", err)
	}
	if b.args, err = bootargs.Parse(string(cmdline)); err != nil {
		return nil, err
	}
	keys, err := envelope.ReadTrusted(keysDir)
	if err != nil {
		return nil, err
	}
	b.console.Say("machine %s boots from %s", b.args.MAC, b.args.Server)
	b.console.Show(func(p *panel) { p.machine, p.image = b.args.MAC.String(), "from "+b.args.Server })
	return keys, nil
}

// connect brings the network up, and lets a machine that nobody knows wait until it
// is adopted.
func (b *boot) connect(ctx context.Context, drivers *modules.Loader) (netup.Lease, error) {
	lease, err := netup.Up(ctx, netup.Setup{MAC: b.args.MAC, Coldplug: drivers.Coldplug, Say: b.console.Say})
	if err != nil {
		return lease, err
	}
	b.online(ctx, lease)
	if b.args.Discover {
		err = b.discover(ctx, lease.Interface)
	}
	return lease, err
}

// online tells people, and the server from now on, how far the machine is.
func (b *boot) online(ctx context.Context, lease netup.Lease) {
	b.console.Say("network: %s %s from %s", lease.Interface, lease.Address, lease.Server)
	b.console.Show(func(p *panel) { p.network = lease.Interface + " " + lease.Address.String() })
	b.server = stage.NewClient(b.args.Server)
	b.reached(ctx, stage.Init)
	b.reached(ctx, stage.Network)
}

// boots notes what the machine boots, as which, and from where.
func (b *boot) boots(d bootargs.Description, from string) {
	b.image = d.Image
	b.console.Say("image: %s for machine %s, from %s", d.Image, d.Name, from)
	b.console.Show(func(p *panel) {
		p.machine = strings.TrimSpace(d.Name + " " + b.args.MAC.String())
		p.image = d.Image + " from " + from
	})
}

// prepareDisk makes ready for a machine whose description names a disk.
func (b *boot) prepareDisk(drivers *modules.Loader, d bootargs.Description, own bootargs.Identity) error {
	install := d.Install.Disk != ""
	if d.Cache != "" || d.Writes.Partition != "" || install {
		b.loadDisks(drivers)
	}
	if install {
		return keepIdentity(own)
	}
	return nil
}

// loadDisks loads the driver of disks behind a controller, which may find them
// late. Kernels for virtual machines lack it, and have other disks.
func (b *boot) loadDisks(drivers *modules.Loader) {
	if err := drivers.Load("sd_mod"); err != nil {
		b.console.Say("disks on SCSI and SATA are not seen: %v", err)
	}
}
