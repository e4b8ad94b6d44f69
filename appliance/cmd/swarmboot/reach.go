package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/state"

	"github.com/spf13/cobra"
)

// reach says where the running boot server is that a command asks: behind the
// socket in a state folder of this computer, or anywhere by URL and token.
type reach struct {
	folder                         *state.Folder
	server, tokenFile, fingerprint string
}

// The variables of the environment that say the same as flags.
const (
	serverVariable      = "SWARMBOOT_SERVER"
	tokenVariable       = "SWARMBOOT_TOKEN"
	fingerprintVariable = "SWARMBOOT_FINGERPRINT"
)

const reachManual = `The running boot server is asked over the control socket in its state folder.
From another computer it is asked by the URL of its admin pages (--server) and a
token that 'swarmboot token new' has made there. Its own certificate is trusted by
--fingerprint, which stands in its log. SWARMBOOT_SERVER, SWARMBOOT_TOKEN and
SWARMBOOT_FINGERPRINT in the environment say the same.`

// reachFlags gives cmd and the commands below it the flags of reach. folder is
// where --state puts its value.
func reachFlags(cmd *cobra.Command, folder *state.Folder) *reach {
	r := &reach{folder: folder}
	flags := cmd.PersistentFlags()
	flags.StringVar(&r.server, "server", "", "`URL` of the admin pages of a server elsewhere (default $"+serverVariable+")")
	flags.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the token for it (default the token in $"+tokenVariable+")")
	flags.StringVar(&r.fingerprint, "fingerprint", "", "`SHA256` of its certificate (default $"+fingerprintVariable+")")
	return r
}

// remote tells whether a server elsewhere is meant.
func (r *reach) remote() bool { return r.url() != "" }

func (r *reach) url() string { return cmp.Or(r.server, os.Getenv(serverVariable)) }

// client is who asks that server.
func (r *reach) client() (*control.Client, error) {
	if !r.remote() {
		return control.NewClient(r.folder.Socket()), nil
	}
	token := os.Getenv(tokenVariable)
	if r.tokenFile != "" {
		info, err := os.Stat(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("token file %s: others may read it; chmod 600 mends it", r.tokenFile)
		}
		data, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		if token = strings.TrimSpace(string(data)); token == "" {
			return nil, errors.New("token file " + r.tokenFile + " is empty")
		}
	}
	client, err := control.NewRemote(control.Remote{URL: r.url(), Token: token, Fingerprint: cmp.Or(r.fingerprint, os.Getenv(fingerprintVariable))})
	return client, usage(err)
}
