package main

import (
	"swarmboot/appliance/internal/settings"

	"github.com/spf13/cobra"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the settings file, for editors",
		Long: `Print the JSON Schema of the settings file. Editors that know it complete and
explain the settings while you type. What it cannot know, such as that two
machines have one address, check tells.`,
		Example: `  swarmboot schema > swarmboot.schema.json
  sed -i '1i # yaml-language-server: $schema=swarmboot.schema.json' swarmboot.yaml`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(settings.Schema)
			return err
		},
	}
}
