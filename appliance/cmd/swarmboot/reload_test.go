package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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
		d := newDaemon(nil, new(power.Board), file, keys, see(file, keys), journal.New(), slog.New(slog.DiscardHandler))
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
			return &settings.Settings{Config: bootserver.Config{State: string(data)}}, err
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
