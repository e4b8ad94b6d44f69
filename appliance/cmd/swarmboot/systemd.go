package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// tellSystemd tells systemd when the ports are open, that the server is alive as
// often as the unit wants to hear it, and when it stops. Without systemd it does
// nothing.
func tellSystemd(ctx context.Context, server *bootserver.Server, log *slog.Logger) error {
	select {
	case <-ctx.Done():
		return nil
	case <-server.Serving():
	}
	tell := func(state string) {
		if _, err := systemd.SdNotify(false, state); err != nil {
			log.Error("systemd was not told", "state", state, "err", err)
		}
	}
	tell(systemd.SdNotifyReady)
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("WATCHDOG_USEC: %w", err)
	}
	if interval == 0 {
		interval = time.Hour // only the status is told
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		// Whoever waits for a lock that is never given back gets no further.
		up, all := 0, server.Machines()
		for _, m := range all {
			if m.Condition == fleet.Up {
				up++
			}
		}
		tell(fmt.Sprintf("%s\nSTATUS=%d of %d machines are up", systemd.SdNotifyWatchdog, up, len(all)))
		select {
		case <-ctx.Done():
			tell(systemd.SdNotifyStopping)
			return nil
		case <-tick.C:
		}
	}
}
