package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Tell which version this is",
		Long:    "Tell which version of swarmboot this is: module version, commit and compiler, as the Go tool recorded them.",
		Example: "  swarmboot version",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return fmt.Errorf("this executable was built without build information; build it with 'go build'")
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), describeBuild(info))
			return err
		},
	}
}

// version is the short one, of the module alone.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// describeBuild is such as: swarmboot v0.1.0 (commit 8dc7ab3, changed) go1.26.0 linux/amd64.
func describeBuild(info *debug.BuildInfo) string {
	setting := map[string]string{}
	for _, s := range info.Settings {
		setting[s.Key] = s.Value
	}
	text := "swarmboot " + info.Main.Version
	if commit := setting["vcs.revision"]; commit != "" {
		text += " (commit " + commit[:min(len(commit), 12)]
		if setting["vcs.modified"] == "true" {
			text += ", changed"
		}
		text += ")"
	}
	return fmt.Sprintf("%s %s %s/%s", text, info.GoVersion, setting["GOOS"], setting["GOARCH"])
}
