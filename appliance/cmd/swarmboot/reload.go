package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver"
)

// A daemon is the boot server together with the files that it is run by.
type daemon struct {
	*bootserver.Server
	board  *power.Board
	config string
	lines  *journal.Journal
	load   func() (*settings.Settings, error)
	reload func(bootserver.Config) error
	keys   state.Folder // whose trusted keys machines believe
	trust  func() error
	log    *slog.Logger
	taken  seen // as it was last read; of follow alone

	mu      sync.Mutex
	status  api.Settings      // guarded by mu
	inForce settings.Complete // guarded by mu
}

// newDaemon is told the settings that the server was started with, how the files
// were just before they were read, and where the last lines of log about each
// machine are.
func newDaemon(server *bootserver.Server, board *power.Board, began *settings.Settings, config string, keys state.Folder, taken seen, lines *journal.Journal, log *slog.Logger) *daemon {
	return &daemon{
		Server: server, board: board, config: config, keys: keys, taken: taken, lines: lines, log: log, reload: server.Reload,
		load: func() (*settings.Settings, error) { return settings.Load(config, offered) },
		trust: func() error {
			trusted, err := keys.Trusted()
			if err != nil {
				return err
			}
			return server.Trust(trusted)
		},
		status: api.Settings{File: config, Loaded: time.Now()}, inForce: began.Complete,
	}
}

// seen is how the settings file, and the folder of trusted keys, were at one
// moment; nil: not there.
type seen struct{ config, keys fs.FileInfo }

func see(config string, keys state.Folder) seen {
	return seen{stat(config), stat(keys.TrustedDir())}
}

func stat(path string) fs.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

// Settings tells which settings are in force.
func (d *daemon) Settings() api.Settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// InForce are the settings in force.
func (d *daemon) InForce() settings.Complete {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inForce
}

// Log gives the last lines about one machine, from the one after that number on.
func (d *daemon) Log(mac string, after uint64) []journal.Line { return d.lines.After(mac, after) }

// look is how often the files are looked at. A change is taken up when a second
// look finds no other: an editor may still be writing. Looking needs no more
// than one stat, and works where notification does not: on network file systems,
// with editors that rename, with links that are turned elsewhere.
const look = time.Second

// follow takes up what the admin writes into the file, keys that are trusted or
// no longer are, and what hup asks for,
// until ctx is done.
func (d *daemon) follow(ctx context.Context, hup <-chan os.Signal) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	last := d.taken
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			d.taken = see(d.config, d.keys)
			last = d.taken
			d.takeUp("signal")
		case <-tick.C:
			now := see(d.config, d.keys)
			if now.config == nil {
				continue // an editor may have moved it away for a moment
			}
			if now.rests(last) && !now.rests(d.taken) {
				d.taken = now
				d.takeUp("changed")
			}
			last = now
		}
	}
}

// rests tells whether all is as it was.
func (s seen) rests(was seen) bool { return same(s.config, was.config) && same(s.keys, was.keys) }

// same tells whether a file is the one that it was.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// takeUp reads the files and puts the settings in force as a whole, or leaves what is in
// force and says why.
func (d *daemon) takeUp(why string) {
	keys := d.trust() // whatever is wrong with the settings
	s, err := d.load()
	if err == nil {
		err = d.reload(s.Config)
	}
	err = errors.Join(keys, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if err != nil {
		d.status.Refused, d.status.Problem = now, err.Error()
		d.log.Error("settings were not loaded; the last good ones stay in force", "file", d.config, "why", why, "err", err)
		return
	}
	d.board.Set(s.Power)
	d.status = api.Settings{File: d.config, Loaded: now}
	d.log.Info("settings loaded", "audit", true, "file", d.config, "why", why)
	d.inForce.Config, d.inForce.Power = s.Config, s.Power
	for _, change := range settings.Diff(d.inForce, s.Complete) {
		d.status.Restart = append(d.status.Restart, change.What)
		d.log.Warn("setting takes a restart of the server", "file", d.config, "setting", change.What)
	}
}

// summary is what check and serve say about settings without mistakes.
func summary(cfg bootserver.Config) string {
	return fmt.Sprintf("networks %d, machines %d, images %d", len(cfg.Networks), len(cfg.Machines), len(cfg.Images()))
}
