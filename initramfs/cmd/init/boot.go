package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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
	lease, err := netup.Up(ctx, netup.Setup{MAC: b.args.MAC, Coldplug: drivers.Coldplug, Say: b.console.Say})
	if err != nil {
		return err
	}
	b.console.Say("network: %s %s from %s", lease.Interface, lease.Address, lease.Server)
	b.console.Show(func(p *panel) { p.network = lease.Interface + " " + lease.Address.String() })
	b.server = stage.NewClient(b.args.Server)
	b.reached(ctx, stage.Init)
	b.reached(ctx, stage.Network)
	if b.args.Discover {
		if err := b.discover(ctx, lease.Interface); err != nil {
			return err
		}
	}

	b.enter(stage.Swarm) // peerd reports it
	description, err := b.describe(ctx, keys)
	if err != nil {
		return err
	}
	b.image = description.Image
	b.console.Say("image: %s for machine %s", b.image, description.Name)
	b.console.Show(func(p *panel) {
		p.machine = strings.TrimSpace(description.Name + " " + b.args.MAC.String())
		p.image = b.image + " from " + b.args.Server
	})
	identity, err := b.identify(ctx, keys)
	if err != nil {
		return err
	}
	if description.Install.Disk != "" {
		if err := keepIdentity(identity); err != nil {
			return err
		}
	}
	if description.Cache != "" || description.Writes.Partition != "" || description.Install.Disk != "" {
		// The driver of disks behind a controller, which may find them late. Kernels
		// for virtual machines lack it, and have other disks.
		if err := drivers.Load("sd_mod"); err != nil {
			b.console.Say("disks on SCSI and SATA are not seen: %v", err)
		}
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

// describe fetches the boot description, verifies it and leaves it for peerd.
func (b *boot) describe(ctx context.Context, keys []envelope.PublicKey) (bootargs.Description, error) {
	url := b.args.Server + bootargs.DescriptionPath(b.args.MAC)
	sealed, err := fetch(ctx, url, bootargs.MaxDescription)
	if err != nil {
		return bootargs.Description{}, fmt.Errorf("boot description: %w", err)
	}
	d, err := bootargs.OpenDescription(keys, b.args.MAC, sealed)
	if err != nil {
		return bootargs.Description{}, fmt.Errorf("%s: %w", url, err)
	}
	payload, err := json.Marshal(d)
	if err != nil {
		return bootargs.Description{}, fmt.Errorf("boot description: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(descriptionFile), 0o755); err != nil {
		return bootargs.Description{}, fmt.Errorf("keep boot description: %w", err)
	}
	if err := os.WriteFile(descriptionFile, payload, 0o600); err != nil {
		return bootargs.Description{}, fmt.Errorf("keep boot description: %w", err)
	}
	return d, nil
}

const fetchTimeout = time.Minute

// fetch gets what is at url, max bytes at most.
func fetch(ctx context.Context, url string, max int64) ([]byte, error) {
	data, _, err := exchange(ctx, http.MethodGet, url, nil, max)
	return data, err
}

// exchange makes a request. The status is that of an answer which is not 200,
// and an error too.
func exchange(ctx context.Context, method, url string, body io.Reader, max int64) (data []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(io.LimitReader(resp.Body, max+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("%s %s: %w", method, url, err)
	case resp.StatusCode != http.StatusOK:
		return nil, resp.StatusCode, fmt.Errorf("%s %s: the server answered %s: %.512q", method, url, resp.Status, data)
	case int64(len(data)) > max:
		return nil, 0, fmt.Errorf("%s %s: more than %d bytes", method, url, max)
	}
	return data, resp.StatusCode, nil
}

// enter begins the way to a stage.
func (b *boot) enter(s stage.Stage) {
	b.next = s
	b.console.Show(func(p *panel) { p.at, p.next = s, "" })
}

// reached tells the server. A report that does not arrive is no reason to stop.
func (b *boot) reached(ctx context.Context, s stage.Stage) {
	b.report(ctx, stage.Report{Stage: s})
}

// failed tells people and, if it can be reached, the server.
func (b *boot) failed(ctx context.Context, err error, next string) {
	r := stage.Report{Stage: stage.Failed, At: b.next, Reason: err.Error(), Image: b.image}
	if b.args.MAC != nil {
		r.Machine = b.args.MAC.String()
	}
	b.console.Banner(r, next)
	r.Detail = &stage.Detail{Console: stage.Console()}
	b.report(ctx, r)
}

// report gives the server two chances within a few seconds.
func (b *boot) report(ctx context.Context, r stage.Report) {
	if b.server == nil {
		return
	}
	r.Machine, r.Image = b.args.MAC.String(), b.image
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	err := b.server.Send(ctx, r)
	if err == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
		err = b.server.Send(ctx, r)
	}
	if err != nil {
		b.console.Say("the server does not hear us: %v", err)
	}
}

// mountKernelFiles mounts the file systems through which the kernel speaks.
func mountKernelFiles() error {
	var errs []error
	for _, m := range []struct{ target, fstype string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			errs = append(errs, err)
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, unix.MS_NOSUID, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.target, err))
		}
	}
	return errors.Join(errs...)
}
