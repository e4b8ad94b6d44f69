package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// namedOperands wants the arguments that the usage line names before its flags; one
// whose name ends in dots there may stand several times.
func namedOperands(cmd *cobra.Command, args []string) error {
	_, names, _ := strings.Cut(cmd.Use, " ")
	names, _, _ = strings.Cut(names, " --")
	want := len(strings.Fields(names))
	if len(args) == want || len(args) > want && strings.Contains(names, "...") {
		return nil
	}
	return fmt.Errorf("want %s, got %d words; see '%s --help'", names, len(args), cmd.CommandPath())
}

// none wants no operand.
func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("what is %q? %s takes flags only; see '%[2]s --help'", args[0], cmd.CommandPath())
	}
	return nil
}

// subcommand wants none either: whatever comes was meant as a command.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2 // letters that differ
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("there is no command '%s %s'; did you mean '%[1]s %[3]s'?", cmd.CommandPath(), args[0], near[0])
	}
	return fmt.Errorf("there is no command '%s %s'; '%[1]s --help' lists them", cmd.CommandPath(), args[0])
}
