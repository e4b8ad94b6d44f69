package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
)

// startAnew is how long people have to read why a machine starts anew.
const startAnew = 10 * time.Second

// identify fetches what makes the machine itself. The server gives it for the
// token once, so it is kept for the next attempt; and a token that is used up,
// because the answer was lost on its way, is only mended by a new boot, which gets
// another.
func (b *boot) identify(ctx context.Context, keys []envelope.PublicKey) (bootargs.Identity, error) {
	if b.own != nil {
		return *b.own, nil
	}
	if b.args.Token == "" {
		return bootargs.Identity{}, nil
	}
	url := b.args.Server + bootargs.IdentityPath(b.args.MAC)
	sealed, status, err := exchange(ctx, http.MethodPost, url, strings.NewReader(b.args.Token), bootargs.MaxIdentity)
	if status == http.StatusGone {
		b.failed(ctx, fmt.Errorf("identity: %w", err), "starting anew in "+startAnew.String())
		time.Sleep(startAnew)
		return bootargs.Identity{}, fmt.Errorf("start anew: %w", unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)) // it returns only if it fails
	}
	if err != nil {
		return bootargs.Identity{}, fmt.Errorf("identity: %w", err)
	}
	identity, err := bootargs.OpenIdentity(keys, b.args.MAC, sealed)
	if err != nil {
		return bootargs.Identity{}, fmt.Errorf("%s: %w", url, err)
	}
	b.own = &identity
	return identity, nil
}
