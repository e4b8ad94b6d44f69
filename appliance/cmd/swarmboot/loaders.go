package main

import (
	"errors"
	"fmt"

	"swarmboot/appliance/internal/table"
	"swarmboot/bootserver/loaders"

	"github.com/spf13/cobra"
)

// defaultLoaders is where settings without a folder of loaders have it.
const defaultLoaders = "/usr/lib/swarmboot/loaders"

func loadersCommand() *cobra.Command {
	cmd := group("loaders", "Fetch, list and verify the first programs that machines load",
		`Fetch, list and verify the loaders: the first programs that machines load. They
are Debian's (iPXE; shim and GRUB for Secure Boot), pinned by SHA-256, and not
part of Swarmboot.`,
		"  swarmboot loaders fetch\n  swarmboot loaders verify")
	dir := cmd.PersistentFlags().String("dir", defaultLoaders, "`FOLDER` of the loaders, as in the settings")
	cmd.AddCommand(loadersFetchCommand(dir), loadersListCommand(dir), loadersVerifyCommand(dir))
	return cmd
}

func loadersFetchCommand(dir *string) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Fetch the loaders that are missing",
		Long: `Fetch the loaders that are missing or not the pinned ones, verify them, and put
them into the folder. They come out of Debian 13's packages, by the mirror that
this host's apt uses; apt runs with a configuration of its own and changes nothing
else here.

Without a network, --from names a folder with the packages (.deb) or with the
loaders themselves.`,
		Example: "  swarmboot loaders fetch\n  swarmboot loaders fetch --from /media/usb/loaders",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return loaders.Fetch(cmd.Context(), *dir, from, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`FOLDER` to take them from instead of a mirror")
	return cmd
}

func loadersListCommand(dir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the loaders",
		Long:    "List the loaders, what each is for, and whether the folder has it: ok, missing, or\nother (not the pinned one).",
		Example: "  swarmboot loaders list\n  swarmboot loaders list -o json | jq -r '.[] | select(.state != \"ok\") | .name'",
		Args:    none,
	}
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		rows := make([]table.LoaderRow, len(loaders.Files))
		for i, f := range loaders.Files {
			state := "ok"
			switch err := f.Verify(*dir); {
			case errors.Is(err, loaders.ErrMissing):
				state = "missing"
			case err != nil:
				state = "other"
			}
			rows[i] = table.LoaderRow{Name: f.Name, State: state, Package: f.Package, About: f.About}
		}
		if asJSON {
			return encode(cmd.OutOrStdout(), rows)
		}
		return table.Loaders(cmd.OutOrStdout(), rows)
	})
	return cmd
}

func loadersVerifyCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "verify",
		Short:   "Compare the loaders with the pinned ones",
		Long:    "Compare the files in the folder with the pinned SHA-256. Each that is missing or\ndiffers is named; the exit status is then 1.",
		Example: "  swarmboot loaders verify --dir /srv/loaders",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := loaders.Verify(*dir); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: all %d loaders are the pinned ones\n", *dir, len(loaders.Files))
			return err
		},
	}
}
