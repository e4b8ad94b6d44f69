package main

import (
	"fmt"
	"os"
	"path/filepath"

	"swarmboot/appliance/internal/state"
	"swarmboot/images/builder"
	"swarmboot/images/catalogue"
	"swarmboot/images/delta"
	"swarmboot/images/tree"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func imageDiffCommand(folder *state.Folder) *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show what differs between two images",
		Long: `Show what differs between the images OLD and NEW, each NAME@VERSION or NAME@TAG:
their kernels, how much of NEW a machine has that holds OLD, and every file that
was added (+), removed (-) or changed (~), with what of it has changed. Both are
unpacked beside the catalogue, which takes root and their room on disk.`,
		Example: "  swarmboot image diff lab@1 lab@2\n  swarmboot image diff lab@stable lab@canary | grep etc/",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, before, err := find(folder, args[0])
			if err != nil {
				return err
			}
			_, after, err := find(folder, args[1])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			a, b := before.Manifest, after.Manifest
			if a.KernelRelease != b.KernelRelease || a.Kernel != b.Kernel {
				fmt.Fprintf(out, "kernel %s, was %s\n", b.KernelRelease, a.KernelRelease)
			}
			missing, err := missingBytes(before, after)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "root %s, was %s; a machine with the old one in its cache fetches %s (%d%%)\n",
				humanize.IBytes(uint64(b.Root.Size)), humanize.IBytes(uint64(a.Root.Size)), humanize.IBytes(uint64(missing)), missing*100/b.Root.Size)
			work, err := os.MkdirTemp(filepath.Dir(c.Dir()), ".diff-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(work)
			var trees [2]tree.Tree
			for i, image := range []*catalogue.Image{before, after} {
				root := filepath.Join(work, fmt.Sprint(i))
				if err := builder.Unpack(cmd.Context(), image, root); err != nil {
					return err
				}
				if trees[i], err = tree.Read(root); err != nil {
					return err
				}
			}
			signs := map[string]string{"added": "+", "removed": "-", "changed": "~"}
			for _, change := range tree.Compare(trees[0], trees[1]) {
				what := ""
				if change.What != "" {
					what = ": " + change.What
				}
				fmt.Fprintf(out, "%s %s%s\n", signs[change.Kind], change.Path, what)
			}
			return nil
		},
	}
}

// missingBytes is how much of the new root cannot be made of the old one.
func missingBytes(before, after *catalogue.Image) (missing int64, err error) {
	var roots [2]*os.File
	for i, image := range []*catalogue.Image{before, after} {
		if roots[i], err = image.Open(catalogue.Root); err != nil {
			return 0, err
		}
		defer roots[i].Close()
	}
	d, err := delta.Files(roots[0], before.Manifest.Pieces, roots[1], after.Manifest.Root.Size)
	return d.Missing(), err
}
