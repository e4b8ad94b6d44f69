package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"swarmboot/appliance/internal/lab"
	"swarmboot/appliance/internal/state"
	"swarmboot/images/catalogue"

	"github.com/spf13/cobra"
)

func labCommand() *cobra.Command {
	cmd := group("lab", "Boot a rack of virtual machines on this computer, to see how it goes",
		`Boot a rack of virtual machines from a boot server, all on this computer, to see
how it goes before there are machines, a network or settings. All it takes is an
image.

The machines are QEMU's, two of three with UEFI, the others with BIOS. They, their
network and their boot server are in a network namespace of their own, so a server
that runs here is not disturbed, and nothing of this computer's network is changed.
It takes root.

The lab's files are in ~/.cache/swarmboot/lab: the server's settings and log, a
capture of the network, and a folder with console.log and console.sock for each
machine. They stay until the next lab.`,
		`  swarmboot image build lab@1 --package openssh-server
  swarmboot loaders fetch
  swarmboot lab up                        # three machines, and how to log in to them
  swarmboot lab add                       # one more, whose image comes from the three
  swarmboot lab down`)
	cmd.AddCommand(labUpCommand(), labAddCommand(), labDownCommand())
	return cmd
}

func labUpCommand() *cobra.Command {
	o := lab.Options{}
	var image string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a boot server and machines, and follow them until each has all of its image",
		Long: `Start a boot server and machines, follow them until each has all of its image, and
tell what it took: how long each stage, and who has sent how much. Then the lab
stays up until 'lab down'; with --once, or if it is interrupted, it is stopped.

If something is missing, it says what, and what brings it. A machine that does not
come up makes the exit status 1, and the last words of its console are shown.

A boot takes seconds where KVM works, else a minute or more.`,
		Example: `  swarmboot lab up
  swarmboot lab up --machines 8 --link 100mbit --image lab@stable
  swarmboot lab up --machines 1 --once      # does this image boot?`,
		Args: none,
	}
	folder := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if err := o.Validate(); err != nil {
			return usage(err)
		}
		if o.Image, err = labImage(folder, image); err != nil {
			return err
		}
		for _, path := range []*string{(*string)(folder), &o.Loaders, &o.Initramfs} {
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
		o.State = *folder
		l, err := lab.New(os.Stdout)
		if err != nil {
			return err
		}
		return l.Up(cmd.Context(), o)
	}
	cmd.Flags().StringVar(&image, "image", "", "`NAME@VERSION` or NAME@TAG that the machines boot (default the only one there is)")
	cmd.Flags().IntVar(&o.Machines, "machines", 3, fmt.Sprintf("`NUMBER` of machines, up to %d", lab.MaxMachines))
	cmd.Flags().BoolVar(&o.Once, "once", false, "stop everything when each machine has all of its image")
	linkFlag(cmd, &o.Link)
	bootFilesFlags(cmd, &o.Loaders, &o.Initramfs)
	return cmd
}

func labAddCommand() *cobra.Command {
	var link string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Switch one more machine on, and follow it",
		Long: `List one more machine in the settings of the lab's boot server, which takes them up
as it runs, switch the machine on and follow it until it has all of its image.`,
		Example: "  swarmboot lab add",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lab.CheckLink(link); err != nil {
				return usage(err)
			}
			l, err := lab.New(os.Stdout)
			if err != nil {
				return err
			}
			return l.Add(cmd.Context(), link)
		},
	}
	linkFlag(cmd, &link)
	return cmd
}

func labDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Stop the machines and their boot server",
		Long:    "Stop the machines and their boot server, and remove their network. The lab's files\nstay until the next lab.",
		Example: "  swarmboot lab down",
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			l, err := lab.New(os.Stdout)
			if err != nil {
				return err
			}
			return l.Down()
		},
	}
}

func linkFlag(cmd *cobra.Command, link *string) {
	cmd.Flags().StringVar(link, "link", "", "`RATE` of each machine's cable, such as 100mbit or 1gbit (default no limit)")
}

// labImage finds the image called name, or without a name the only one there is.
func labImage(folder *state.Folder, name string) (*catalogue.Image, error) {
	if name != "" {
		_, image, err := find(folder, name)
		return image, err
	}
	list, err := folder.Images()
	switch len(list) {
	case 0:
		none := fmt.Errorf("there is no image in %s; make one: swarmboot image build lab@1 --package openssh-server --state %[1]s", *folder)
		return nil, cmp.Or(err, none)
	case 1:
		return list[0], nil
	}
	names := make([]string, len(list))
	for i, image := range list {
		names[i] = image.Manifest.Ref().String()
	}
	return nil, usage(fmt.Errorf("which image? name one with --image: %s", strings.Join(names, ", ")))
}
