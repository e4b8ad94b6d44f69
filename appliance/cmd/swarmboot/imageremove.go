package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/state"
	"swarmboot/images"
	"swarmboot/images/builder"
	"swarmboot/images/catalogue"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func imageRemoveCommand(folder *state.Folder) *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "rm NAME@VERSION...",
		Short: "Remove images that no tag names and no machine uses",
		Long: `Remove images. One that a tag names, that a machine runs or that the settings
give to a machine is not removed: the running boot server is asked. What the
image takes on disk is freed by 'image gc', unless other images need it.`,
		Example: "  swarmboot image rm lab@1\n  swarmboot image rm lab@1 lab@2 && swarmboot image gc",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			used, err := inUse(cmd.Context(), folder, offline)
			if err != nil {
				return err
			}
			c, err := folder.Catalogue()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				ref, err := images.ParseRef(name)
				err = usage(err)
				if err == nil && used[name] != "" {
					err = fmt.Errorf("image %s is the one of machine %s; give it another and boot it first", name, used[name])
				}
				if err == nil {
					err = c.Remove(cmd.Context(), ref)
				}
				if err == nil {
					audit(folder).Info("image removed", "image", ref)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
	offlineFlag(cmd, &offline)
	return cmd
}

func imageGCCommand(folder *state.Folder) *cobra.Command {
	var offline bool
	var keep uint
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Free the disk from what no image needs, and from old images",
		Long: `Free the disk from files that no image needs. With --keep N, first remove images
that no tag names and no machine uses, but for the N of each name that were
added last.`,
		Example: "  swarmboot image gc\n  swarmboot image gc --keep 3",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := folder.Catalogue()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("keep") {
				used, err := inUse(cmd.Context(), folder, offline)
				if err != nil {
					return err
				}
				old, err := removable(c, int(keep), used)
				if err != nil {
					return err
				}
				for _, ref := range old {
					if err := c.Remove(cmd.Context(), ref); err != nil {
						return err
					}
					audit(folder).Info("image removed", "image", ref)
					fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", ref)
				}
			}
			freed, err := c.Collect(cmd.Context())
			if err := errors.Join(err, builder.Collect(c)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "freed %s\n", humanize.IBytes(uint64(freed)))
			return err
		},
	}
	cmd.Flags().UintVar(&keep, "keep", 0, "remove images too, but keep the newest `N` of each name")
	offlineFlag(cmd, &offline)
	return cmd
}

func offlineFlag(cmd *cobra.Command, offline *bool) {
	cmd.Flags().BoolVar(offline, "offline", false, "do not ask the boot server: no machine uses these images")
}

// inUse tells which images machines run or are to boot, with the name of one of
// the machines.
func inUse(ctx context.Context, folder *state.Folder, offline bool) (map[string]string, error) {
	used := map[string]string{}
	if offline {
		return used, nil
	}
	list, err := control.NewClient(folder.Socket()).Machines(ctx)
	if err != nil {
		return nil, fmt.Errorf("nobody tells what the machines run: %w; or say --offline if none runs", err)
	}
	for _, m := range list {
		used[m.Image] = cmp.Or(m.Name, m.MAC)
		if m.Override != nil {
			used[m.Override.Image] = cmp.Or(m.Name, m.MAC)
		}
	}
	return used, nil
}

// removable are the images that nothing speaks for, the oldest first.
func removable(c *catalogue.Catalogue, keep int, used map[string]string) ([]images.Ref, error) {
	list, err := c.List()
	if err != nil {
		return nil, err
	}
	tags, err := c.Tags()
	if err != nil {
		return nil, err
	}
	type candidate struct {
		ref   images.Ref
		added time.Time
		held  bool
	}
	byName := map[string][]candidate{}
	for _, image := range list {
		added, err := image.Added()
		if err != nil {
			return nil, err
		}
		ref := image.Manifest.Ref()
		held := used[ref.String()] != "" || len(tagsOf(image, tags)) > 0
		byName[ref.Name] = append(byName[ref.Name], candidate{ref, added, held})
	}
	var old []images.Ref
	for _, all := range byName {
		slices.SortFunc(all, func(a, b candidate) int { return b.added.Compare(a.added) })
		for _, c := range all[min(keep, len(all)):] {
			if !c.held {
				old = append(old, c.ref)
			}
		}
	}
	slices.SortFunc(old, func(a, b images.Ref) int { return strings.Compare(a.String(), b.String()) })
	return old, nil
}
