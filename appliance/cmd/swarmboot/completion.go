package main

import (
	"github.com/spf13/cobra"
)

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete commands, flags and names of machines",
		Long: `Print a script for the shell that is named. With it, Tab completes commands, flags,
and the names of the machines that the running boot server knows.`,
		Example: `  swarmboot completion bash > /etc/bash_completion.d/swarmboot
  swarmboot completion zsh > "${fpath[1]}/_swarmboot"
  swarmboot completion fish > ~/.config/fish/completions/swarmboot.fish`,
		Args:      cobra.MatchAll(namedOperands, cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			}
			return root.GenFishCompletion(out, true)
		},
	}
}
