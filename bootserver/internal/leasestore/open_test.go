package leasestore

import (
	"bytes"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name         string
		written, now time.Time
		want         string
	}{
		{"right", now.Add(-time.Hour), now, ""},
		{"nothing was ever written", time.Time{}, now, ""},
		{"a little back: summer time, or NTP", now.Add(time.Minute), now, ""},
		{"not set since power-on", time.Time{}, time.Unix(90, 0), "This host's clock says 1970-01-01. Set it (timedatectl set-ntp true, or hwclock)"},
		{"a week back", now.AddDate(0, 0, 7), now, "but leases were written at 2026-11-29 12:00:00. Set it (timedatectl set-ntp true, or hwclock)"},
	} {
		got := clockWord(c.written, c.now)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
}

// TestLeaseOfAnUnsetClock: a machine that got its address in 1970 keeps it when
// the clock is right and the server starts again.
func TestLeaseOfAnUnsetClock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	s, err := Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	address := netip.MustParseAddr("10.77.0.100")
	then := time.Unix(90, 0)
	if err := s.Claim(t.Context(), Lease{Pool: "hall", Address: address, MAC: [6]byte{2, 1}, Expires: then.Add(time.Hour)}, then); err != nil {
		t.Fatal(err)
	}
	all, err := s.All(t.Context())
	if err != nil || len(all) != 1 || time.Until(all[0].Expires) < 23*time.Hour {
		t.Errorf("All = %+v, %v; want one lease for another day", all, err)
	}
}

// TestFutureFile: what the clock has to do with the file is told when it is
// opened.
func TestFutureFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	db, err := openChecked(file)
	if err != nil {
		t.Fatal(err)
	}
	later, _ := time.Now().AddDate(1, 0, 0).MarshalText()
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Bucket(facts).Put(written, later); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	db.Close()
	var log bytes.Buffer
	s, err := Open(file, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if !strings.Contains(log.String(), "timedatectl") {
		t.Errorf("the log says %q; want a word about the clock", &log)
	}
}
