package main

import (
	"errors"

	"swarmboot/appliance/internal/control"

	"github.com/spf13/cobra"
)

// The exit status of every command.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
)

const exitManual = `Exit status:
  0  it is done
  1  it failed, or there is a mistake in the settings; standard error says why
  2  the command line is wrong
  3  no boot server answers
  4  the boot server, or the system, wants another user or token`

// exitStatus is that of a command that ended with err.
func exitStatus(err error) int {
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, control.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, control.ErrRefused):
		return exitRefused
	}
	return exitFailed
}

// A usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// markUsage makes what cmd and the commands below it say of their arguments
// usage errors.
func markUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return usage(check(cmd, args)) }
	}
	for _, sub := range cmd.Commands() {
		markUsage(sub)
	}
}
