package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/internal/probe"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"
)

// discover tells the boot server what the machine is until somebody has adopted
// it there. It returns nil when the boot is to go on.
func (b *boot) discover(ctx context.Context, card string) error {
	b.enter(stage.Discovered)
	found := probe.Machine(os.DirFS("/"))
	found.Machine = b.args.MAC.String()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan probe.Port, 1)
	go func() {
		if port, err := probe.Neighbour(ctx, card); err == nil {
			heard <- port
		} else if ctx.Err() == nil {
			b.console.Say("%v", err)
		}
	}()

	b.console.Say("this machine is not listed: %s %s, serial %s", found.Vendor, found.Product, found.Serial)
	b.console.Say("it waits until it is adopted: swarmboot machine adopt %s --name NAME", found.Machine)
	client := inventory.NewClient(b.args.Server)
	for {
		order, err := client.Send(ctx, found)
		switch {
		case err != nil:
			b.console.Say("%v", err)
		case order == inventory.Boot:
			b.console.Say("adopted")
			return nil
		case order == inventory.Restart:
			b.console.Say("adopted; starting anew")
			if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
				return fmt.Errorf("start anew: %w", err)
			}
		}
		select {
		case port := <-heard:
			b.console.Say("plugged into %s, port %s", port.Switch, port.Port)
			for i := range found.Cards {
				if found.Cards[i].Name == card {
					found.Cards[i].Switch, found.Cards[i].Port = port.Switch, port.Port
				}
			}
		case <-time.After(inventory.Again):
		}
	}
}
