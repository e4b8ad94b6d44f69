package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/metrics"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/webui"
)

// adminSource is the boot server as admins see it.
type adminSource interface {
	api.Source
	metrics.Source
}

// serveAdmin serves the admin pages and the API until ctx is done.
func serveAdmin(ctx context.Context, cfg settings.Admin, source adminSource, log *slog.Logger) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("admin pages cannot listen: %w (admin.listen names another address)", err)
	}
	handler, err := webui.Handler(map[string]http.Handler{
		api.Prefix + "/":      api.Handler(source, version()),
		"GET " + metrics.Path: metrics.Handler(source),
	}, cfg.Names)
	if err != nil {
		return err
	}
	return webui.Serve(ctx, l, handler, log)
}
