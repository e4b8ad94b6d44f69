package main

import (
	"swarmboot/appliance/internal/journal"

	"github.com/spf13/cobra"
)

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print who changed what, and who was refused",
		Long: `Print the audit log of the state folder, a JSON object in each line, the oldest
first: changes made by the admin pages, the API and the commands, settings that were
taken up, logins, and who was refused. The keys are those of the server's log: time, level, msg, admin (the
name of the token, or the user) and peer; then what the change was about.`,
		Example: `  swarmboot audit
  swarmboot audit | jq -r 'select(.msg == "tag moved") | [.time, .admin, .tag, .image] | @tsv'`,
		Args: cobra.NoArgs,
	}
	folder := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return journal.CopyAudit(cmd.OutOrStdout(), folder.Audit())
	}
	return cmd
}
