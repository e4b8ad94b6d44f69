package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"swarmboot/appliance/internal/state"
	"swarmboot/images"
	"swarmboot/images/builder"
	"swarmboot/images/catalogue"
	"swarmboot/images/delta"
	"swarmboot/images/tree"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func imageDiffCommand(folder *state.Folder) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show what differs between two images",
		Long: `Show what differs between the images OLD and NEW, each NAME@VERSION or NAME@TAG:
their kernels, how much of NEW a machine has that holds OLD, and every file that
was added (+), removed (-) or changed (~), with what of it has changed. Both are
unpacked beside the catalogue, which takes root and their room on disk.`,
		Example: `  swarmboot image diff lab@1 lab@2
  swarmboot image diff lab@stable lab@canary | grep etc/
  swarmboot image diff lab@1 lab@2 -o json | jq -r '.changes[] | select(.kind == "removed") | .path'`,
		Args: namedOperands,
	}
	outputFlag(cmd, func(cmd *cobra.Command, args []string, asJSON bool) error {
		c, before, err := find(folder, args[0])
		if err != nil {
			return err
		}
		_, after, err := find(folder, args[1])
		if err != nil {
			return err
		}
		d, err := compareImages(cmd.Context(), filepath.Dir(c.Dir()), before, after)
		if err != nil {
			return err
		}
		if asJSON {
			return encode(cmd.OutOrStdout(), d)
		}
		d.print(cmd.OutOrStdout())
		return nil
	})
	return cmd
}

// An imageDiff is what differs between two images; in JSON too.
type imageDiff struct {
	Old     imageSide    `json:"old"`
	New     imageSide    `json:"new"`
	Missing int64        `json:"missing_bytes"` // of the new root, for a machine with the old one in its cache
	Changes []fileChange `json:"changes"`
}

type imageSide struct {
	Image        images.Ref `json:"image"`
	Kernel       string     `json:"kernel_release"`
	KernelSHA256 string     `json:"kernel_sha256"` // one release may be built anew
	Root         int64      `json:"root_bytes"`
}

type fileChange struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // added, removed or changed
	What string `json:"what,omitempty"`
}

// compareImages unpacks both images below the folder work.
func compareImages(ctx context.Context, work string, before, after *catalogue.Image) (imageDiff, error) {
	side := func(m images.Manifest) imageSide {
		return imageSide{m.Ref(), m.KernelRelease, m.Kernel.SHA256, m.Root.Size}
	}
	d := imageDiff{Old: side(before.Manifest), New: side(after.Manifest), Changes: []fileChange{}}
	var err error
	if d.Missing, err = missingBytes(before, after); err != nil {
		return d, err
	}
	if work, err = os.MkdirTemp(work, ".diff-"); err != nil {
		return d, err
	}
	defer os.RemoveAll(work)
	var trees [2]tree.Tree
	for i, image := range []*catalogue.Image{before, after} {
		root := filepath.Join(work, fmt.Sprint(i))
		if err := builder.Unpack(ctx, image, root); err != nil {
			return d, err
		}
		if trees[i], err = tree.Read(root); err != nil {
			return d, err
		}
	}
	for _, c := range tree.Compare(trees[0], trees[1]) {
		d.Changes = append(d.Changes, fileChange{c.Path, c.Kind, c.What})
	}
	return d, nil
}

func (d imageDiff) print(out io.Writer) {
	if d.Old.Kernel != d.New.Kernel || d.Old.KernelSHA256 != d.New.KernelSHA256 {
		fmt.Fprintf(out, "kernel %s, was %s\n", d.New.Kernel, d.Old.Kernel)
	}
	fmt.Fprintf(out, "root %s, was %s; a machine with the old one in its cache fetches %s (%d%%)\n",
		humanize.IBytes(uint64(d.New.Root)), humanize.IBytes(uint64(d.Old.Root)), humanize.IBytes(uint64(d.Missing)), d.Missing*100/d.New.Root)
	signs := map[string]string{"added": "+", "removed": "-", "changed": "~"}
	for _, change := range d.Changes {
		what := ""
		if change.What != "" {
			what = ": " + change.What
		}
		fmt.Fprintf(out, "%s %s%s\n", signs[change.Kind], change.Path, what)
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
