package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/metrics"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/webui"
)

// serveAdmin serves the admin pages, the API and the metrics of source until ctx
// is done. On loopback whoever has a login on this computer sees them, but a
// token is asked for what changes something; anywhere else they speak TLS and ask
// for one always.
func serveAdmin(ctx context.Context, cfg settings.Admin, folder state.Folder, answers http.Handler, source metrics.Source, log *slog.Logger) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("admin pages cannot listen: %w (admin.listen names another address)", err)
	}
	return answerAdmins(ctx, l, cfg, folder, answers, source, log)
}

// answerAdmins does so on l, and closes it.
func answerAdmins(ctx context.Context, l net.Listener, cfg settings.Admin, folder state.Folder, answers http.Handler, source metrics.Source, log *slog.Logger) error {
	free := cfg.Listen.Addr().IsLoopback()
	gate := access.NewGate(access.Tokens(folder.Tokens()), log)
	refusals := webui.NewRefusals()
	all := map[string]http.Handler{
		api.Prefix + "/":      gate.Protect(answers, free),
		"GET " + metrics.Path: metrics.Handler(source, refusals.Counts),
		"POST /login":         http.HandlerFunc(gate.Login),
		"POST /logout":        http.HandlerFunc(gate.Logout),
	}
	var config *tls.Config
	if !free {
		certificate, err := adminCertificate(cfg, folder)
		if err != nil {
			l.Close()
			return err
		}
		log.Info("admin pages need a token", "url", adminURL(cfg), "certificate", access.Fingerprint(certificate))
		config = &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}
		all["GET "+metrics.Path] = gate.Require(all["GET "+metrics.Path], access.Read, access.Write, access.Metrics)
	}
	handler, err := webui.Handler(all, cfg.Names, refusals)
	if err != nil {
		l.Close()
		return err
	}
	return webui.Serve(ctx, l, config, handler, refusals, log)
}

func adminURL(cfg settings.Admin) string {
	if cfg.Listen.Addr().IsLoopback() {
		return "http://" + cfg.Listen.String()
	}
	return "https://" + cfg.Listen.String()
}

func adminCertificate(cfg settings.Admin, folder state.Folder) (tls.Certificate, error) {
	if cfg.Certificate != "" {
		return access.Certificate(cfg.Certificate, cfg.Key)
	}
	return access.OwnCertificate(folder.AdminCertificate(), cfg.Listen.Addr(), cfg.Names)
}
