package main

import (
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/table"

	"github.com/spf13/cobra"
)

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print who changed what, and who was refused",
		Long: `Print the audit log of the state folder, the oldest first: changes made by the admin
pages, the API and the commands, settings that were taken up, logins, and who was
refused. WHO is the name of the token, or the user.

With -o json it is as it stands in the file, an object in each line, with the keys
of the server's log: time, level, msg, admin and peer; then what the change was
about.`,
		Example: `  swarmboot audit
  swarmboot audit -o json | jq -r 'select(.msg == "tag moved") | [.time, .admin, .tag, .image] | @tsv'`,
		Args: none,
	}
	folder := stateFlag(cmd)
	outputFlag(cmd, func(cmd *cobra.Command, _ []string, asJSON bool) error {
		if asJSON {
			return journal.CopyAudit(cmd.OutOrStdout(), folder.Audit())
		}
		list, err := journal.ReadAudit(folder.Audit())
		if err != nil {
			return err
		}
		return table.Audit(cmd.OutOrStdout(), list)
	})
	return cmd
}
