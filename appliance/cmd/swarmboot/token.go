package main

import (
	"fmt"
	"time"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/table"

	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	cmd := group("token", "Let admins and programs to the pages and the API",
		`Make, list and revoke the tokens that open the admin pages, the API and /metrics.
They are asked for where admin.listen is not on loopback, and everywhere for what
changes something. Only a hash of each is kept, in the state folder. What is changed
here counts at once, also for a server that runs.`,
		`  swarmboot token new anna --expires 2160h
  swarmboot token new prometheus --scope metrics
  curl -H "Authorization: Bearer $TOKEN" https://boot.example.org:8470/api/v1/machines`)
	folder := stateFlag(cmd)
	cmd.AddCommand(tokenNewCommand(folder), tokenListCommand(folder), tokenRevokeCommand(folder))
	return cmd
}

func tokensOf(folder *state.Folder) access.Tokens { return access.Tokens(folder.Tokens()) }

func tokenNewCommand(folder *state.Folder) *cobra.Command {
	var scope string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a token and print it, this once",
		Long: `Make a token for NAME and print it. It cannot be shown again. NAME stands in the
log when the token is used to log in.

  --scope read      opens all that there is to see
  --scope write     the same, and changes it: adopts machines, moves tags
  --scope metrics   opens /metrics alone`,
		Example: "  swarmboot token new anna --expires 2160h",
		Args:    namedOperands,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := access.Validate(args[0], access.Scope(scope), expires); err != nil {
				return usage(err)
			}
			secret, err := tokensOf(folder).New(args[0], access.Scope(scope), expires)
			if err != nil {
				return err
			}
			audit(folder).Info("token made", "token", args[0], "scope", scope)
			_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
			return err
		},
	}
	cmd.Flags().StringVar(&scope, "scope", string(access.Read), "`SCOPE`: read, write or metrics")
	cmd.Flags().DurationVar(&expires, "expires", 0, "end after this `TIME`, such as 2160h; 0: never")
	return cmd
}

func tokenListCommand(folder *state.Folder) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the tokens",
		Long:    "List the tokens: for whom each is, what it opens, and until when.",
		Example: "  swarmboot token list",
		Args:    none,
	}
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		list, err := tokensOf(folder).List()
		if err != nil {
			return err
		}
		if asJSON {
			return encode(cmd.OutOrStdout(), list)
		}
		return table.Tokens(cmd.OutOrStdout(), list)
	})
	return cmd
}

func tokenRevokeCommand(folder *state.Folder) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME",
		Short:   "End a token, and the logins made with it",
		Long:    "End the token of NAME, and the logins made with it, at once.",
		Example: "  swarmboot token revoke anna",
		Args:    namedOperands,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := tokensOf(folder).Revoke(args[0]); err != nil {
				return err
			}
			audit(folder).Info("token revoked", "token", args[0])
			return nil
		},
	}
}
