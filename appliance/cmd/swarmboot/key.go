package main

import (
	"fmt"
	"os"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/table"
	"swarmboot/initramfs/envelope"

	"github.com/spf13/cobra"
)

func keyCommand() *cobra.Command {
	cmd := group("key", "Make, list and trust the keys that images are signed with",
		`Make, list and trust the keys that images are signed with. One key in the state
folder signs images and boot descriptions; it is made with the first image.
Machines believe what it, or a key that is trusted besides, has signed: they get
the public halves in their initramfs. A server that runs takes up within seconds
which keys are trusted; with another key to sign with it must be started anew.`,
		`  swarmboot key list
  swarmboot key trust builder.pub      # images that another computer builds
  swarmboot key new --replace          # older images stay`)
	folder := stateFlag(cmd)
	cmd.AddCommand(keyNewCommand(folder), keyListCommand(folder), keyTrustCommand(folder), keyDistrustCommand(folder))
	return cmd
}

func keyNewCommand(folder *state.Folder) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make the key that signs images and boot descriptions",
		Long: `Make the key that signs images and boot descriptions here, and print its ID.
With --replace, in place of the one that is there: its private half is removed,
its signatures go on to count until 'key distrust'.`,
		Example: "  swarmboot key new\n  swarmboot key new --replace",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := folder.NewKey(replace)
			if err != nil {
				return err
			}
			audit(folder).Info("key made", "key", key.Public().ID(), "replaces", replace)
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key.Public().ID())
			return err
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "in place of the key that is there")
	return cmd
}

func keyListCommand(folder *state.Folder) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys whose signatures count",
		Long:    "List the keys whose signatures count: their IDs, whether they sign here or are only\ntrusted, and the files of their public halves.",
		Example: "  swarmboot key list\n  swarmboot key list -o json | jq -r '.[] | select(.signs) | .id'",
		Args:    none,
	}
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		keys, err := folder.Keys()
		if err != nil {
			return err
		}
		rows := make([]table.KeyRow, len(keys))
		for i, key := range keys {
			rows[i] = table.KeyRow{ID: key.Public.ID(), Signs: key.Signs, File: key.File}
		}
		if asJSON {
			return encode(cmd.OutOrStdout(), rows)
		}
		return table.Keys(cmd.OutOrStdout(), rows)
	})
	return cmd
}

func keyTrustCommand(folder *state.Folder) *cobra.Command {
	return &cobra.Command{
		Use:   "trust FILE",
		Short: "Believe what the key in FILE has signed",
		Long: `Believe what the key has signed whose public half is in FILE (PEM, as in the
state folder's keys/swarmboot.pub), and print its ID. Machines then boot any
image and obey any boot description that it signs, from their next boot on.`,
		Example: "  scp builder:/var/lib/swarmboot/keys/swarmboot.pub builder.pub\n  swarmboot key trust builder.pub",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			key, err := envelope.ParsePublicKey(data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := folder.Trust(key); err != nil {
				return err
			}
			audit(folder).Info("key trusted", "key", key.ID())
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key.ID())
			return err
		},
	}
}

func keyDistrustCommand(folder *state.Folder) *cobra.Command {
	return &cobra.Command{
		Use:     "distrust ID",
		Short:   "Believe a key no more",
		Long:    "Believe the key with that ID no more. Images that only it has signed are not\noffered any more and cannot be booted.",
		Example: "  swarmboot key distrust 1f0c4f2f3c9f7f2e",
		Args:    namedOperands,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := folder.Distrust(args[0]); err != nil {
				return err
			}
			audit(folder).Info("key distrusted", "key", args[0])
			return nil
		},
	}
}
