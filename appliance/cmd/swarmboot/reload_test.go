package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/bootserver"
	"swarmboot/initramfs/envelope"
)

// What a reload takes up is in force, what takes a restart is told.
func TestTakeUpWhatNeedsNoRestart(t *testing.T) {
	with := func(listen, user string) *settings.Settings {
		return &settings.Settings{Complete: settings.Complete{
			Admin: settings.Admin{Listen: netip.MustParseAddrPort(listen)},
			Power: map[string]power.Machine{"52:54:00:77:00:01": {Way: power.Way{User: user}}},
		}}
	}
	var log strings.Builder
	began, next := with("127.0.0.1:8470", "root"), with("127.0.0.1:8471", "admin")
	keys := state.Folder(t.TempDir())
	d := newDaemon(nil, new(power.Board), began, "f.yaml", keys, seen{}, journal.New(), slog.New(slog.NewTextHandler(&log, nil)))
	d.trust = func() error { return nil }
	d.load = func() (*settings.Settings, error) { return next, nil }
	d.reload = func(bootserver.Config) error { return nil }
	d.takeUp("test")
	want := settings.Complete{Admin: began.Admin, Power: next.Power}
	if got := d.InForce(); !reflect.DeepEqual(got, want) {
		t.Errorf("in force are %+v; want %+v", got, want)
	}
	if got, want := d.Settings().Restart, []string{"admin: listen 127.0.0.1:8470 -> 127.0.0.1:8471"}; !slices.Equal(got, want) {
		t.Errorf("the status says of a restart %q; want %q", got, want)
	}
	if want := `msg="setting takes a restart of the server" file=f.yaml setting="admin: listen 127.0.0.1:8470 -> 127.0.0.1:8471"`; strings.Count(log.String(), "restart") != 1 || !strings.Contains(log.String(), want) {
		t.Errorf("the log has\n%swant once\n%s", log.String(), want)
	}
	next = began
	if d.takeUp("test"); d.Settings().Restart != nil {
		t.Errorf("with the old setting in the file again, a restart is still asked for: %q", d.Settings().Restart)
	}
}

// The file is taken up once it rests, however it was changed; what is wrong
// leaves the last good settings in force and is told.
func TestFollowTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "swarmboot.yaml")
		write := func(name, text string) {
			t.Helper()
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(file, "1")
		var inForce atomic.Value // string
		inForce.Store("")
		keys := state.Folder(t.TempDir())
		d := newDaemon(nil, new(power.Board), new(settings.Settings), file, keys, see(file, keys), journal.New(), slog.New(slog.DiscardHandler))
		var trusted atomic.Int32
		d.trust = func() error {
			all, err := keys.Trusted()
			trusted.Store(int32(len(all)))
			return err
		}
		d.load = func() (*settings.Settings, error) {
			data, err := os.ReadFile(file)
			if string(data) == "wrong" {
				err = errors.New("line 1 is wrong")
			}
			return &settings.Settings{Complete: settings.Complete{Config: bootserver.Config{State: string(data)}}}, err
		}
		d.reload = func(c bootserver.Config) error {
			if c.State == "refused" {
				return errors.New("takes a restart")
			}
			inForce.Store(c.State)
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		hup := make(chan os.Signal)
		done := make(chan error)
		go func() { done <- d.follow(ctx, hup) }()
		expect := func(want, problem string) {
			t.Helper()
			synctest.Wait()
			if got := d.Settings(); inForce.Load() != want || got.Problem != problem {
				t.Errorf("in force is %q, problem %q; want %q, %q", inForce.Load(), got.Problem, want, problem)
			}
		}

		// Time in the bubble: the sleeps pass at once, and what follow does in them
		// is done when expect looks.
		time.Sleep(3 * look)
		expect("", "") // nothing was changed
		write(file, "22")
		time.Sleep(look)
		expect("", "") // it may still be written
		time.Sleep(look)
		expect("22", "")
		write(file, "wrong")
		time.Sleep(3 * look)
		expect("22", "line 1 is wrong")
		write(file, "refused")
		time.Sleep(3 * look)
		expect("22", "takes a restart")
		write(file+"~", "4444") // as editors save
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * look)
		expect("4444", "")
		os.Remove(file)
		time.Sleep(3 * look)
		expect("4444", "")
		write(file, "55555")
		hup <- nil
		expect("55555", "")
		key, err := envelope.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Trust(key.Public()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * look)
		expect("55555", "")
		if n := trusted.Load(); n != 1 {
			t.Errorf("%d keys are trusted; want the one that was added", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("follow = %v; want nil after a stop", err)
		}
	})
}
