package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"swarmboot/appliance/internal/state"
	"swarmboot/images"
	"swarmboot/images/builder"
	"swarmboot/images/catalogue"

	"github.com/spf13/cobra"
)

func imageBuildCommand(folder *state.Folder) *cobra.Command {
	var o builder.Options
	var verbose bool
	var optimize string
	cmd := &cobra.Command{
		Use:   "build NAME@VERSION",
		Short: "Make an image from a distribution's packages or from any root file system",
		Long: `Make an image from a root file system: bring it into a folder, take the kernel
and the modules that network boot needs out of it, pack the rest into one
squashfs file, hash its pieces, and sign it all. The root comes --from

  debian:SUITE         Debian's packages, installed by mmdebstrap
  oci:DIR[:TAG]        a container image: an OCI layout (a path begins with / or .),
  oci:FILE               what docker save wrote,
  oci:REFERENCE          or an image in a registry
  tar:FILE             an archive, compressed or not
  dir:DIR              a folder
  disk:FILE            a disk image, raw, qcow2 or whatever qemu-img reads
  squashfs:FILE        a squashfs file
  image:NAME@VERSION   an image that is here already

A root without a kernel, as in most container images, gets one with --kernel-from,
which takes the same sources. Every root must have an /sbin/init.

What one disk or one machine had does not go into the image: SSH host keys, the
machine ID, and in /etc/fstab what is mounted from disks. All else stays as it
is: owners, extended attributes and capabilities, hard links, device nodes. Only
POSIX ACLs are lost, which squashfs does not know; the files that had some are
named.

The same source gives the same image, down to its digest. For debian: that means
the same packages; with SOURCE_DATE_EPOCH set, on another day too.

With --optimize the files that a boot of another image has opened stand together
at the front, in the order of that boot, so that a machine needs fewer pieces
until its login. That image may be an older version, or the one that this is made
from. 'image train' has booted it, or a machine with the kernel argument
swarmboot.trace, and so it is known which files those are.

It must run as root, and says which programs it lacks. An image never changes:
another content is another version. A build that is interrupted leaves nothing
behind; what one left that was killed, the next removes, or 'image gc'.`,
		Example: `  swarmboot image build lab@1
  swarmboot image build web@2026-03 --from debian:bookworm \
    --package nginx --package openssh-server --customize ./site.sh
  swarmboot image build app@7 --from oci:registry.example.org/team/app:7 --kernel-from debian:trixie
  swarmboot image build golden@1 --from disk:golden.qcow2
  swarmboot image train lab@1 && swarmboot image build lab@2 --from image:lab@1 --optimize lab@1
  swarmboot image build old@1 --from tar:backup.tar.zst --kernel-from image:lab@1`,
		Args: namedOperands,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Ref, err = images.ParseRef(args[0]); err != nil {
				return usage(err)
			}
			if err := o.Validate(); err != nil {
				return usage(err)
			}
			if o.Key, err = folder.Key(); err != nil {
				return err
			}
			if o.Catalogue, err = folder.Catalogue(); err != nil {
				return err
			}
			if optimize != "" {
				_, traced, err := find(folder, optimize)
				if err != nil {
					return err
				}
				if o.Hot, err = folder.Trace(traced.Digest); err != nil {
					return fmt.Errorf("optimize by the boot of %s: %w", traced.Manifest.Ref(), err)
				}
			}
			if epoch, found := os.LookupEnv("SOURCE_DATE_EPOCH"); found {
				if o.Epoch, err = strconv.ParseInt(epoch, 10, 64); err != nil || o.Epoch <= 0 {
					return fmt.Errorf("SOURCE_DATE_EPOCH is %q; want seconds since 1970", epoch)
				}
			}
			steps := newSteps(cmd.ErrOrStderr())
			o.Progress = steps.progress
			o.Warn = func(text string) { fmt.Fprintln(steps, "note:", text) }
			if verbose {
				o.Log = slog.New(slog.NewTextHandler(steps, &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			image, err := builder.Build(cmd.Context(), o)
			steps.end(err == nil)
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), []*catalogue.Image{image}, nil)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.From, "from", "debian:trixie", "`SOURCE` of the root file system")
	flags.StringVar(&o.KernelFrom, "kernel-from", "", "`SOURCE` of kernel and modules (default the root)")
	flags.StringVar(&o.Kernel, "kernel", "", "`KERNEL`: of Debian the package (default linux-image-ARCH), else the release of one of several")
	flags.StringVar(&o.Arch, "arch", "", "`PROCESSOR`: amd64 or arm64 (default this computer's)")
	flags.StringArrayVar(&o.Packages, "package", nil, "`PACKAGE` to install besides those that a machine needs to boot; of debian: only; may be repeated")
	flags.StringVar(&o.Customize, "customize", "", "`PROGRAM` that is given the root folder before it is packed")
	flags.StringVar(&optimize, "optimize", "", "order the files as a traced boot of the image `NAME@VERSION` opened them")
	flags.StringVar(&o.Mirror, "mirror", "", "`URL` of the packages (default the distribution's own)")
	flags.BoolVar(&verbose, "verbose", false, "show what the tools say")
	return cmd
}
