package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Tell which version this is",
		Long:    "Tell which version of swarmboot this is: module version, commit and compiler, as\nthe Go tool recorded them.",
		Example: "  swarmboot version\n  swarmboot version -o json | jq -r .commit",
		Args:    none,
	}
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		info, ok := debug.ReadBuildInfo()
		if !ok {
			return fmt.Errorf("this executable was built without build information; build it with 'go build'")
		}
		b := newBuild(info)
		if asJSON {
			return encode(cmd.OutOrStdout(), b)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), b)
		return err
	})
	return cmd
}

// version is the short one, of the module alone.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// A build is how this executable was made.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Changed bool   `json:"changed,omitempty"` // since that commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func newBuild(info *debug.BuildInfo) build {
	setting := map[string]string{}
	for _, s := range info.Settings {
		setting[s.Key] = s.Value
	}
	return build{info.Main.Version, setting["vcs.revision"], setting["vcs.modified"] == "true", info.GoVersion, setting["GOOS"], setting["GOARCH"]}
}

// String is such as: swarmboot v0.1.0 (commit 8dc7ab3, changed) go1.26.0 linux/amd64.
func (b build) String() string {
	commit := ""
	if b.Commit != "" {
		commit = " (commit " + b.Commit[:min(len(b.Commit), 12)]
		if b.Changed {
			commit += ", changed"
		}
		commit += ")"
	}
	return fmt.Sprintf("swarmboot %s%s %s %s/%s", b.Version, commit, b.Go, b.OS, b.Arch)
}
