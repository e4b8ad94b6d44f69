package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/internal/handover"
	"swarmboot/initramfs/internal/modules"
	"swarmboot/initramfs/internal/netup"
	"swarmboot/initramfs/partition"
	"swarmboot/initramfs/stage"
)

// localNetwork is how long a machine that starts from its disk looks for a
// network, which it can do without.
const localNetwork = 30 * time.Second

// attemptLocal is attempt for a machine whose image is on its disk: description
// and identity were put into the initramfs by the disk's loader, and neither the
// boot server nor peerd is needed.
func (b *boot) attemptLocal(ctx context.Context, drivers *modules.Loader) error {
	b.enter(stage.Root)
	d, identity, err := readLocal()
	if err != nil {
		return err
	}
	b.boots(d, "its disk")
	if err := drivers.Coldplug(); err != nil {
		b.console.Say("not all drivers: %v", err)
	}
	b.loadDisks(drivers)

	lookFor, cancel := context.WithTimeout(ctx, localNetwork)
	lease, err := netup.Up(lookFor, netup.Setup{MAC: b.args.MAC, Coldplug: drivers.Coldplug, Say: b.console.Say})
	cancel()
	if err != nil {
		b.console.Say("goes on without a network: %v", err)
	} else {
		b.online(ctx, lease)
	}

	device, err := partition.Await(bootargs.ImagePartition)
	if err != nil {
		return err
	}
	layer, err := b.openWrites(drivers, d.Install.Writes)
	if err != nil {
		return err
	}
	root, err := handover.Mount(device, rootFilesystem, layer)
	if err != nil {
		return err
	}
	furniture := handover.Furniture{
		Name: d.Name, ResolvConf: lease.ResolvConf(), Busybox: busybox, Identity: identity,
		Ready: []string{"/" + handover.Peerd, "ready", "--server", b.args.Server, "--machine", b.args.MAC.String(), "--image", d.Image},
	}
	if err := root.Furnish(furniture); err != nil {
		return errors.Join(err, root.Unmount())
	}
	b.reached(ctx, stage.Root)
	b.enter(stage.SwitchRoot)
	b.reached(ctx, stage.SwitchRoot)
	b.console.HandOver()
	return root.Switch()
}

// readLocal reads what the installation has left.
func readLocal() (d bootargs.Description, i bootargs.Identity, err error) {
	payload, err := os.ReadFile(bootargs.LocalDescription)
	if err == nil {
		d, err = bootargs.ParseDescription(payload)
	}
	if err != nil {
		return d, i, fmt.Errorf("boot description on the disk: %w", err)
	}
	payload, err = os.ReadFile(bootargs.LocalIdentity)
	if errors.Is(err, fs.ErrNotExist) {
		return d, i, nil
	}
	if err == nil {
		err = json.Unmarshal(payload, &i)
	}
	if err != nil {
		return d, i, fmt.Errorf("identity on the disk: %w", err)
	}
	return d, i, nil
}

// keepIdentity leaves the identity for an installation.
func keepIdentity(i bootargs.Identity) error {
	payload, err := json.Marshal(i)
	if err == nil {
		err = os.WriteFile(bootargs.LocalIdentity, payload, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep identity: %w", err)
	}
	return nil
}
