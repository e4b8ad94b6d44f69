package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/traces"
	"swarmboot/appliance/internal/webhook"
	"swarmboot/bootserver"

	"github.com/spf13/cobra"
)

// stopTime is how long the services have to end once a stop is asked for.
const stopTime = 5 * time.Second

func serveCommand() *cobra.Command {
	var config, format string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the boot server",
		Long: `Run the boot server that the settings file FILE describes: DHCP, TFTP, HTTP,
tracker and seeder, on one network card or more. It needs root, for the ports below
1024.

The log goes to standard error; every line about a machine has machine=MAC. The
server runs until SIGINT or SIGTERM and then ends within 5 seconds. Machines that
have booted go on without it.

FILE is read again when it has changed, and on SIGHUP. It is put in force as a
whole; while there is a mistake in it, the last good settings stay in force, and
the log and 'swarmboot status' say why. Boots that run are not disturbed. So it is
with keys that are trusted ('swarmboot key trust'), or no longer are.`,
		Example: `  swarmboot serve --config swarmboot.yaml
  swarmboot serve --config swarmboot.yaml --log-format json 2>>/var/log/swarmboot.json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				return usage(errors.New("serve what? name the settings file with --config FILE"))
			}
			log, err := newLogger(cmd.ErrOrStderr(), format, verbose)
			if err != nil {
				return err
			}
			// A hall that asks for addresses doubles the memory otherwise; this way it
			// costs a twentieth of the processor's time.
			debug.SetGCPercent(50)
			return endInTime(cmd.Context(), func(ctx context.Context) error {
				return serve(ctx, config, log, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "settings `FILE`")
	cmd.Flags().StringVar(&format, "log-format", "text", "`FORMAT` of the log: text or json")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "log every packet and request too")
	return cmd
}

// serve runs the server until ctx is done or one of its parts fails, and
// returns when all have ended.
func serve(ctx context.Context, config string, log *slog.Logger, out io.Writer) error {
	config, err := filepath.Abs(config) // so that commands run elsewhere find it
	if err != nil {
		return err
	}
	taken := seen{config: stat(config)} // before it is read: what changes later is read again
	cfg, err := settings.Load(config, offered)
	if err != nil {
		return err
	}
	folder := state.Folder(cfg.State)
	taken.keys = stat(folder.TrustedDir())
	key, err := folder.Key()
	if err != nil {
		return err
	}
	catalogue, err := folder.Catalogue()
	if err != nil {
		return err
	}
	hooks, err := webhooks(cfg.Hooks)
	if err != nil {
		return err
	}
	lines := journal.New()
	log = slog.New(slog.NewMultiHandler(log.Handler(), lines, journal.Audit(folder.Audit())))
	socket, err := control.Listen(folder.Socket())
	if err != nil {
		return err
	}
	defer socket.Close()
	server, err := bootserver.New(cfg.Config, catalogue, key, log)
	if err != nil {
		return err
	}

	fmt.Fprintf(out, "Starting the boot server: %s\n", summary(cfg.Config))
	for _, n := range cfg.Networks {
		fmt.Fprintf(out, "  %-10s  %v on %s, mode %s, unknown machines: %s\n", n.Name, n.Subnet, cmp.Or(n.Interface, "relays"), n.Mode, n.Unknown)
		fmt.Fprintf(out, "              udp %v ports 67 and 69, http://%v, swarm tcp %v\n", n.Server,
			netip.AddrPortFrom(n.Server, cfg.HTTPPort), netip.AddrPortFrom(n.Server, cfg.SwarmPort))
		if n.Server6.IsValid() {
			fmt.Fprintf(out, "              IPv6 %v: udp %v ports 547 and 69, http://%v\n", n.Subnet6, n.Server6, netip.AddrPortFrom(n.Server6, cfg.HTTPPort))
		}
	}
	fmt.Fprintf(out, "  control     %s\n", folder.Socket())
	fmt.Fprintf(out, "  pages, API  %s\n", adminURL(cfg.Admin))
	fmt.Fprintf(out, "See the machines with: swarmboot machine list --watch --state %s\n", folder)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	board := new(power.Board)
	board.Set(cfg.Power)
	daemon := newDaemon(server, board, cfg, config, folder, taken, lines, log)
	handler := api.Handler(daemon, doer{changer{config, folder}, server, board}, version(), log)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for _, run := range []func(context.Context) error{
		server.Run,
		func(ctx context.Context) error { return control.Serve(ctx, socket, handler, daemon.InForce) },
		func(ctx context.Context) error { return daemon.follow(ctx, hup) },
		func(ctx context.Context) error { return webhook.Run(ctx, server, hooks, log) },
		func(ctx context.Context) error { return traces.Run(ctx, server, cfg.Traces.URL, version(), log) },
		func(ctx context.Context) error { return tellSystemd(ctx, server, log) },
		func(ctx context.Context) error { return serveAdmin(ctx, cfg.Admin, folder, handler, server, log) },
	} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// webhooks are those of the settings, with their secrets.
func webhooks(list []settings.Hook) (hooks []webhook.Hook, err error) {
	for _, h := range list {
		secret, err := webhook.ReadSecret(h.SecretFile)
		if err != nil {
			return nil, err
		}
		hooks = append(hooks, webhook.Hook{Name: h.Name, URL: h.URL, Secret: secret, Stages: h.Stages})
	}
	return hooks, nil
}

// endInTime runs f and gives it stopTime to end once ctx is done.
func endInTime(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(stopTime):
		return fmt.Errorf("stopped, but a service had not ended after %v; its connections are cut", stopTime)
	}
}

func newLogger(w io.Writer, format string, verbose bool) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		options.Level = slog.LevelDebug
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usage(fmt.Errorf("log format %q: want text or json", format))
}
