// Swarmboot is the boot server and the admin's tool for it.
//
//	swarmboot image build NAME@VERSION [--from SOURCE] [--kernel-from SOURCE] ...
//	swarmboot key new | list | trust | distrust
//	swarmboot image train NAME@VERSION
//	swarmboot image list | show | tag | untag | diff | verify | rm | gc | export | import
//	swarmboot check FILE
//	swarmboot diff FILE
//	swarmboot explain NAME|MAC --config FILE [--arch N] [--http]
//	swarmboot schema
//	swarmboot setup
//	swarmboot serve --config FILE [--log-format text|json] [--verbose]
//	swarmboot status [-o json]
//	swarmboot machine list [-o json] [--watch] [NAME|MAC|RANGE]...
//	swarmboot machine watch | timeline | log
//	swarmboot machine unknown [-o json]
//	swarmboot machine host-keys
//	swarmboot machine adopt MAC --name NAME [--rack R] [--group G]
//	swarmboot machine power | rack power  on | off | cycle | status
//	swarmboot machine reboot-into NAME... IMAGE [--stay] | rollback NAME... | release NAME...
//	swarmboot loaders fetch|list|verify [--dir FOLDER]
//	swarmboot lab up | add | down
//	swarmboot token new NAME [--scope read|write|metrics] | list | revoke NAME
//	swarmboot audit
//	swarmboot completion bash|zsh|fish
//	swarmboot manual FOLDER
//	swarmboot version
//
// Each command stands in the file of its name; swarmboot COMMAND --help is its
// manual. A failed command tells why on standard error; exit.go has its status.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, explain(err))
		os.Exit(exitStatus(err))
	}
}

// explain words err for people. Mistakes in a settings file stand bare, one on
// each line, so that editors can jump to them.
func explain(err error) string {
	var problems settings.Problems
	if errors.As(err, &problems) {
		return problems.Error()
	}
	return "swarmboot: " + err.Error()
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "swarmboot",
		Short: "Boot racks of bare machines over the network, into an image that is still arriving",
		Long: `Swarmboot boots racks of bare machines over the network, each into the image
that its MAC address has in one YAML file, and each is up before its image has
finished arriving.

Four commands are all it takes:

  image build    makes an image: a Debian system, its kernel and its pieces
  check          tells every mistake in the settings file
  serve          runs the boot server: DHCP, TFTP, HTTP, tracker and seeder
  machine list   shows how far each machine is, and why one is stuck

` + exitManual,
		Example: `  swarmboot image build lab@1 --from debian:trixie --package openssh-server
  cat > swarmboot.yaml <<END
  networks:
    lab:
      interface: eth1          # the network card that the machines are on
      address: 10.77.0.1/24    # this server's own address there
      pool: 10.77.0.100-10.77.0.199
  machines:
    - {mac: 52:54:00:77:00:01, name: r1-n01, image: lab@1}
  END
  swarmboot check swarmboot.yaml
  swarmboot serve --config swarmboot.yaml
  swarmboot machine list --watch              # in a second terminal`,
		Args:          subcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true, // main prints them
		SilenceUsage:  true, // a failed boot server needs no list of flags
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath()))
	})
	root.CompletionOptions.DisableDefaultCmd = true // ours has a manual
	root.AddCommand(imageCommand(), keyCommand(), checkCommand(), diffCommand(), explainCommand(), schemaCommand(), setupCommand(), serveCommand(), statusCommand(), machineCommand(), rackCommand(), loadersCommand(), labCommand(), tokenCommand(), auditCommand(), completionCommand(), manualCommand(), versionCommand())
	markUsage(root)
	return root
}

// group is a command that only holds others: alone it is a question for help.
func group(use, short, long, example string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// stateFlag gives cmd and the commands below it the flag --state. What they make
// in that folder as root belongs to its owner when they end.
func stateFlag(cmd *cobra.Command) *state.Folder {
	folder := new(state.Folder)
	cmd.PersistentFlags().StringVar((*string)(folder), "state", state.Default, "state folder `DIR` of the boot server")
	cmd.PersistentPostRunE = func(*cobra.Command, []string) error { return folder.Settle() }
	return folder
}

// outputFlag gives cmd the flag -o, and has it run with whether JSON is wanted.
func outputFlag(cmd *cobra.Command, run func(cmd *cobra.Command, args []string, asJSON bool) error) {
	output := cmd.Flags().StringP("output", "o", "table", "`FORMAT`: table or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *output != "table" && *output != "json" {
			return usage(fmt.Errorf("output format %q: want table or json", *output))
		}
		return run(cmd, args, *output == "json")
	}
}

// encode writes what as JSON, as -o json has it.
func encode(w io.Writer, what any) error {
	if err := json.NewEncoder(w).Encode(what); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
