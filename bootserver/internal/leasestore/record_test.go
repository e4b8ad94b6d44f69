package leasestore

import (
	"net/netip"
	"testing"
	"time"
)

// TestRecord: what was written is read, by an earlier version too, and what was
// damaged is not.
func TestRecord(t *testing.T) {
	want := Lease{Pool: "hall", Address: netip.MustParseAddr("10.77.0.100"), MAC: [6]byte{2, 3}, Expires: time.Date(2026, 11, 22, 12, 0, 0, 7, time.UTC)}
	key := want.Address.AsSlice()
	good := record(key, want)
	for name, value := range map[string][]byte{
		"record": good,
		"JSON":   []byte(`{"pool":"hall","mac":"02:03:00:00:00:00","expires":"2026-11-22T12:00:00.000000007Z"}`),
	} {
		got, err := parse(key, value)
		if got.Expires = got.Expires.UTC(); err != nil || got != want {
			t.Errorf("parse of %s = %+v, %v; want %+v", name, got, err, want)
		}
	}
	for i := range good {
		good[i] ^= 1
		if got, err := parse(key, good); err == nil {
			t.Errorf("with byte %d damaged it is read as %+v", i, got)
		}
		good[i] ^= 1
		if got, err := parse(key, good[:i]); err == nil {
			t.Errorf("cut after %d bytes it is read as %+v", i, got)
		}
	}
	if got, err := parse([]byte{10, 77, 0, 101}, good); err == nil {
		t.Errorf("under another address it is read as %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	l := Lease{Pool: "hall", Address: netip.MustParseAddr("fd77::100"), MAC: [6]byte{2, 3}, Expires: time.Unix(1, 2)}
	f.Add(l.Address.AsSlice(), record(l.Address.AsSlice(), l))
	f.Add([]byte{10, 77, 0, 100}, []byte(`{"pool":"hall","mac":"02:03:00:00:00:00","expires":"2026-11-22T12:00:00Z"}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		l, err := parse(key, value)
		if err != nil {
			return
		}
		if again, err := parse(key, record(key, l)); err != nil || again.MAC != l.MAC || again.Pool != l.Pool || again.Address != l.Address {
			t.Errorf("%+v is read again as %+v, %v", l, again, err)
		}
	})
}
