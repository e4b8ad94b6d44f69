package main

import (
	"fmt"
	"time"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/training"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func imageTrainCommand(folder *state.Folder) *cobra.Command {
	o := training.Options{}
	cmd := &cobra.Command{
		Use:   "train NAME@VERSION",
		Short: "Boot an image here once, so that its first machines start faster",
		Long: `Boot the image once in QEMU on this computer, and keep what that boot reads: the
profile, by which machines fetch first what a boot needs first, and the order of
the files, by which 'image build --optimize' lays them out. Both are then there
before the first machine boots the image.

The machine and its boot server are in a network namespace of their own, so a
server that runs here is not disturbed. It must run as root, and says which
programs it lacks. It takes seconds where KVM works, a minute elsewhere.`,
		Example: "  swarmboot image train lab@1\n  swarmboot image build lab@2 --from image:lab@1 --optimize lab@1\n  swarmboot image train lab@2",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if _, o.Image, err = find(folder, args[0]); err != nil {
				return err
			}
			o.State = *folder
			steps := newSteps(cmd.ErrOrStderr())
			o.Progress = func(step string) { steps.progress(step, 0, 0) }
			learned, err := training.Train(cmd.Context(), o)
			steps.end(err == nil)
			if err != nil {
				return fmt.Errorf("train image %s: %w", o.Image.Manifest.Ref(), err)
			}
			pieces := o.Image.Manifest.Pieces
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: at its login after %v; until then it read %d of %d pieces (%s of %s) and opened %d files\n",
				o.Image.Manifest.Ref(), learned.Took.Round(time.Second/10), learned.Touched, pieces.Count(),
				humanize.IBytes(uint64(int64(learned.Touched)*pieces.Length)), humanize.IBytes(uint64(pieces.Size)), learned.Files)
			return err
		},
	}
	bootFilesFlags(cmd, &o.Loaders, &o.Initramfs)
	cmd.Flags().IntVar(&o.Memory, "memory", 0, "the machine's memory in `MiB` (default 1024 and the size of the image)")
	return cmd
}

// bootFilesFlags say what machines boot besides their image.
func bootFilesFlags(cmd *cobra.Command, loaders, initramfs *string) {
	cmd.Flags().StringVar(loaders, "loaders", defaultLoaders, "`FOLDER` of the loaders, as in the settings")
	cmd.Flags().StringVar(initramfs, "initramfs", "/usr/lib/swarmboot/initramfs.cpio.zst", "`FILE` of the common initramfs, as in the settings")
}
