package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func manualCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "manual FOLDER",
		Short: "Write the manual pages of all commands",
		Long: `Write the manual pages of all commands into FOLDER, swarmboot.1 and one for each
command below it, and shell completions beside them: swarmboot.bash, _swarmboot
for zsh and swarmboot.fish. Packages of distributions have these.`,
		Example: "  swarmboot manual /usr/local/share/man/man1",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same source gives the same bytes
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "SWARMBOOT", Section: "1", Source: "Swarmboot", Manual: "Swarmboot"}, args[0]); err != nil {
				return fmt.Errorf("write the manual: %w", err)
			}
			in := func(name string) string { return filepath.Join(args[0], name) }
			for _, err := range []error{
				root.GenBashCompletionFileV2(in("swarmboot.bash"), true),
				root.GenZshCompletionFile(in("_swarmboot")),
				root.GenFishCompletionFile(in("swarmboot.fish"), true),
			} {
				if err != nil {
					return fmt.Errorf("write completions: %w", err)
				}
			}
			return nil
		},
	}
}
