package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver"
	"swarmboot/images"

	"github.com/spf13/cobra"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Tell every mistake in the settings file",
		Long: `Read the settings file FILE as serve does, compare it with the images in its
state folder and at its origin, and tell every mistake at once, each with line and
column.

Nothing is changed and no running server takes notice. Without mistakes the
exit status is 0, else 1.`,
		Example: "  swarmboot check swarmboot.yaml",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := settings.Load(args[0], offered)
			if err != nil {
				return err
			}
			folder := state.Folder(cfg.Config.State)
			if err := checkImages(cmd, folder, cfg.Config); err != nil {
				return err
			}
			if err := bootserver.CheckKernels(cfg.Config, folder.Image); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok: %s\n", args[0], summary(cfg.Config))
			return err
		},
	}
}

// checkImages looks for the images of cfg also at their origin.
func checkImages(cmd *cobra.Command, folder state.Folder, cfg bootserver.Config) error {
	trusted, err := folder.Trusted()
	if err != nil {
		return err
	}
	unsure, err := bootserver.CheckImages(cmd.Context(), cfg, trusted, folder.Image)
	if unsure != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v\n", unsure)
	}
	return err
}

// offered lists what images in a state folder can be named by, for
// settings.Load.
func offered(folder string) ([]images.Ref, error) {
	list, err := state.Folder(folder).Images()
	var refs []images.Ref
	for _, image := range list {
		refs = append(refs, image.Manifest.Ref())
	}
	tags, tagsErr := state.Folder(folder).Tags()
	return slices.AppendSeq(refs, maps.Keys(tags)), errors.Join(err, tagsErr)
}
