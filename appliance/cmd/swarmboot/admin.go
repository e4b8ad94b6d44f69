package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/webui"
)

// serveAdmin serves the admin pages and the API until ctx is done.
func serveAdmin(ctx context.Context, cfg settings.Admin, source api.Source, log *slog.Logger) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("admin pages cannot listen: %w (admin.listen names another address)", err)
	}
	handler, err := webui.Handler(api.Prefix, api.Handler(source, version()), cfg.Names)
	if err != nil {
		return err
	}
	return webui.Serve(ctx, l, handler, log)
}
