package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/table"
	"swarmboot/images"
	"swarmboot/images/catalogue"

	"github.com/spf13/cobra"
)

func imageCommand() *cobra.Command {
	cmd := group("image", "Make, train, list, tag, compare, check, move and remove images",
		`Make, train, list, tag, compare, check, move and remove images. They are kept in the
state folder, and each is signed with the key in it, which is made with the
first image.

NAME@VERSION names an image for ever: it never changes. NAME@TAG is a name that
moves: 'image tag' makes it stand for one version after the other, and machines
whose settings say NAME@TAG boot the one that it stands for then. So does an
admin roll forward, and back.`,
		`  swarmboot image build lab@2 --from debian:trixie
  swarmboot image tag lab@stable lab@2     # machines get it at their next boot
  swarmboot image tag lab@stable lab@1     # and back
  swarmboot image gc --keep 3              # older ones that nothing uses`)
	folder := stateFlag(cmd)
	cmd.AddCommand(imageBuildCommand(folder), imageTrainCommand(folder), imageListCommand(folder), imageShowCommand(folder),
		imageTagCommand(folder), imageUntagCommand(folder), imageDiffCommand(folder), imageVerifyCommand(folder),
		imageRemoveCommand(folder), imageGCCommand(folder), imageExportCommand(folder), imageImportCommand(folder),
		imagePushCommand(folder), imagePullCommand(folder))
	return cmd
}

func imageListCommand(folder *state.Folder) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the images",
		Long:    "List the images in the state folder, with what their parts weigh. With -o json,\neach image's manifest, without the hashes of its pieces.",
		Example: "  swarmboot image list\n  swarmboot image list -o json | jq -r '.[].name'",
		Args:    none,
	}
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		list, listErr := folder.Images() // those that can be trusted, although others cannot
		tags, tagsErr := folder.Tags()
		print := printImages
		if asJSON {
			print = printImagesJSON
		}
		if err := print(cmd.OutOrStdout(), list, tags); err != nil {
			return err
		}
		return errors.Join(listErr, tagsErr)
	})
	return cmd
}

func imageShowCommand(folder *state.Folder) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NAME@VERSION",
		Short:   "Show what an image consists of",
		Long:    "Show what the image, which may be named by a tag, consists of, and which tags\nstand for it. With -o json, its manifest.",
		Example: "  swarmboot image show lab@1\n  swarmboot image show lab@stable -o json | jq -r .digest",
		Args:    namedOperands,
	}
	outputFlag(cmd, func(cmd *cobra.Command, args []string, asJSON bool) error {
		c, image, err := find(folder, args[0])
		if err != nil {
			return err
		}
		tags, err := c.Tags()
		if err != nil {
			return err
		}
		if asJSON {
			return encode(cmd.OutOrStdout(), newImageEntry(image, tags))
		}
		added, err := image.Added()
		if err != nil {
			return err
		}
		return table.Image(cmd.OutOrStdout(), image.Manifest, image.Digest, tagsOf(image, tags), added)
	})
	return cmd
}

func imageTagCommand(folder *state.Folder) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tag NAME@TAG NAME@VERSION",
		Short: "Make a tag stand for an image from now on",
		Long: `Make NAME@TAG stand for the image NAME@VERSION from now on. Machines whose
settings say NAME@TAG boot that image at their next boot; the boot server need
not be told. Machines that run another image go on with it. With --server it is
done in the catalogue of a server elsewhere, which takes a token of scope write.`,
		Example: "  swarmboot image tag lab@stable lab@2\n  swarmboot image tag lab@stable lab@canary    # the one that is canary now",
		Args:    namedOperands,
	}
	reach := reachFlags(cmd, folder)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		tag, err := images.ParseRef(args[0])
		if err != nil {
			return usage(err)
		}
		to, err := images.ParseRef(args[1])
		if err != nil {
			return usage(err)
		}
		now, before, err := moveTag(cmd.Context(), reach, tag, to)
		if err != nil {
			return err
		}
		stoodFor := ""
		if before != "" {
			stoodFor = ", before " + before
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is %s now%s\n", tag, now, stoodFor)
		return err
	}
	return cmd
}

// moveTag does it by the server elsewhere, or in the state folder, for which no
// server need run.
func moveTag(ctx context.Context, reach *reach, tag, to images.Ref) (now, before string, err error) {
	if reach.remote() {
		if tag.Name != to.Name {
			return "", "", fmt.Errorf("tag %s: it can only stand for a version of %s, not for %s", tag, tag.Name, to)
		}
		client, err := reach.client()
		if err != nil {
			return "", "", err
		}
		moved, err := client.Tag(ctx, tag, to.Version)
		return moved.Image, moved.Before, err
	}
	image, old, err := changer{folder: *reach.folder}.Tag(ctx, tag, to)
	if err != nil {
		return "", "", err
	}
	if !old.IsZero() {
		before = old.String()
	}
	audit(reach.folder).Info("tag moved", "tag", tag, "image", image, "before", before)
	return image.String(), before, nil
}

func imageUntagCommand(folder *state.Folder) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "untag NAME@TAG",
		Short:   "Take a tag away",
		Long:    "Take a tag away. The image that it stood for stays. Settings that name the tag\nare wrong then; 'swarmboot check' tells.",
		Example: "  swarmboot image untag lab@canary",
		Args:    namedOperands,
	}
	reach := reachFlags(cmd, folder)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		tag, err := images.ParseRef(args[0])
		if err != nil {
			return usage(err)
		}
		if reach.remote() {
			client, err := reach.client()
			if err != nil {
				return err
			}
			return client.Untag(cmd.Context(), tag)
		}
		if err := (changer{folder: *folder}).Untag(cmd.Context(), tag); err != nil {
			return err
		}
		audit(folder).Info("tag removed", "tag", tag)
		return nil
	}
	return cmd
}

func imageVerifyCommand(folder *state.Folder) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [NAME@VERSION]...",
		Short: "Read every byte of images and compare it with what was signed",
		Long: `Read every byte of the images, of all if none is named, and compare it with
what the manifest says, and the manifest with its signature. With something
wrong the exit status is 1.`,
		Example: "  swarmboot image verify\n  swarmboot image verify lab@stable",
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := folder.Images()
			if len(args) > 0 {
				list, err = nil, nil
				for _, name := range args {
					_, image, findErr := find(folder, name)
					if findErr != nil {
						return findErr
					}
					list = append(list, image)
				}
			}
			errs := []error{err}
			for _, image := range list {
				if err := image.VerifyAll(cmd.Context()); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", image.Manifest.Ref())
			}
			return errors.Join(errs...)
		},
	}
}

func imageExportCommand(folder *state.Folder) *cobra.Command {
	return &cobra.Command{
		Use:   "export NAME@VERSION FILE",
		Short: "Write an image to a file, for another boot server",
		Long: `Write an image with its manifest and signature to FILE, a tar archive; - is
standard output. 'image import' there reads it, if the key that signed it is
trusted there: see 'swarmboot key trust'.`,
		Example: "  swarmboot image export lab@1 lab-1.tar\n  swarmboot image export lab@1 - | ssh other swarmboot image import -",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, image, err := find(folder, args[0])
			if err != nil {
				return err
			}
			if args[1] == "-" {
				return image.Export(cmd.Context(), cmd.OutOrStdout())
			}
			f, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists already; remove it, or export to another file", args[1])
			}
			if err != nil {
				return err
			}
			if err := errors.Join(image.Export(cmd.Context(), f), f.Sync(), f.Close()); err != nil {
				os.Remove(f.Name())
				return err
			}
			return nil
		},
	}
}

func imageImportCommand(folder *state.Folder) *cobra.Command {
	return &cobra.Command{
		Use:     "import FILE",
		Short:   "Add an image that another boot server has exported",
		Long:    "Add the image in FILE, which 'image export' wrote; - is standard input. It keeps\nits name and its signature, which a trusted key must have made.",
		Example: "  swarmboot image import lab-1.tar",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := folder.Catalogue()
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			image, err := c.Import(cmd.Context(), in)
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), []*catalogue.Image{image}, nil)
		},
	}
}

// find opens the catalogue and the image that a command was given.
func find(folder *state.Folder, name string) (*catalogue.Catalogue, *catalogue.Image, error) {
	ref, err := images.ParseRef(name)
	if err != nil {
		return nil, nil, usage(err)
	}
	c, err := folder.Catalogue()
	if err != nil {
		return nil, nil, err
	}
	image, err := c.Get(ref)
	return c, image, err
}

// tagsOf are the tags that stand for an image.
func tagsOf(image *catalogue.Image, tags map[images.Ref]*catalogue.Image) (names []string) {
	for tag, target := range tags {
		if target.Digest == image.Digest {
			names = append(names, tag.Version)
		}
	}
	slices.Sort(names)
	return names
}

func printImages(w io.Writer, list []*catalogue.Image, tags map[images.Ref]*catalogue.Image) error {
	rows := make([]table.ImageRow, len(list))
	for i, image := range list {
		rows[i] = table.ImageRow{Manifest: image.Manifest, Digest: image.Digest, Tags: tagsOf(image, tags)}
	}
	return table.Images(w, rows)
}

// An imageEntry is an image in JSON. The hashes of the pieces are left out:
// they are of use to machines alone, and long.
type imageEntry struct {
	images.Manifest
	Digest string   `json:"digest"`
	Tags   []string `json:"tags"`
	Pieces int      `json:"pieces"`
}

func newImageEntry(image *catalogue.Image, tags map[images.Ref]*catalogue.Image) imageEntry {
	return imageEntry{image.Manifest, image.Digest, append([]string{}, tagsOf(image, tags)...), image.Manifest.Pieces.Count()}
}

func printImagesJSON(w io.Writer, list []*catalogue.Image, tags map[images.Ref]*catalogue.Image) error {
	entries := make([]imageEntry, len(list))
	for i, image := range list {
		entries[i] = newImageEntry(image, tags)
	}
	return encode(w, entries)
}
