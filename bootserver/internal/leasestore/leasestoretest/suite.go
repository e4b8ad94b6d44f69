// Package leasestoretest asks of a leasestore.Store what its callers rely on.
package leasestoretest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"swarmboot/bootserver/internal/leasestore"
)

// An Open opens a store on the same data each time. It is asked again only after
// the store that it returned last has been closed.
type Open func(t *testing.T) leasestore.Store

var (
	begin = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	a     = netip.MustParseAddr("10.77.0.100")
	b     = netip.MustParseAddr("10.77.0.101")
	six   = netip.MustParseAddr("fd77::100")
)

func mac(n int) [6]byte { return [6]byte{0x52, 0x54, 0, 0x77, byte(n >> 8), byte(n)} }

func lease(address netip.Addr, n int, until time.Duration) leasestore.Lease {
	return leasestore.Lease{Pool: "hall", Address: address, MAC: mac(n), Expires: begin.Add(until)}
}

// Run asks all. Each part gets data of its own from fresh.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	for name, part := range map[string]func(*testing.T, Open){
		"what was claimed is there after a restart":          restart,
		"an address has one machine":                         oneMachine,
		"a lease that has ended goes to whoever claims it":   ended,
		"a machine has one address of each pool":             oneAddress,
		"a machine keeps its lease when its pool is renamed": renamed,
		"of many claims at once one wins":                    race,
		"many machines at once all get theirs":               storm,
		"who does not wait is told all the same":             begun,
		"an address can be set aside":                        aside,
		"a note takes no address from another machine":       note,
		"an ended wait is told":                              patience,
		"a closed store refuses":                             closed,
		"what is known of machines is there after a restart": states,
	} {
		t.Run(name, func(t *testing.T) { part(t, fresh(t)) })
	}
}

func restart(t *testing.T, open Open) {
	want := []leasestore.Lease{lease(a, 1, time.Hour), lease(b, 2, time.Minute), lease(six, 1, time.Hour)}
	want[2].Pool = "hall, IPv6"
	s := open(t)
	for _, l := range want {
		claim(t, s, l, begin)
	}
	shut(t, s)
	s = open(t)
	defer shut(t, s)
	has(t, s, want...)
}

func states(t *testing.T, open Open) {
	s := open(t)
	claim(t, s, lease(a, 1, time.Hour), begin)
	for _, known := range []map[[6]byte][]byte{
		{mac(1): []byte("ready"), mac(2): []byte("kernel"), mac(3): []byte("dhcp")},
		{mac(2): []byte("init"), mac(3): nil, mac(4): nil},
	} {
		if err := s.Remember(known); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, s)
	if err := s.Remember(map[[6]byte][]byte{mac(1): []byte("lost")}); !errors.Is(err, leasestore.ErrUnavailable) {
		t.Errorf("Remember in a closed store = %v; want %v", err, leasestore.ErrUnavailable)
	}
	s = open(t)
	defer shut(t, s)
	got, err := s.States()
	if err != nil || len(got) != 2 || string(got[mac(1)]) != "ready" || string(got[mac(2)]) != "init" {
		t.Errorf("States = %q, %v; want machine 1 ready and machine 2 at init", got, err)
	}
	has(t, s, lease(a, 1, time.Hour))
}

func oneMachine(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	claim(t, s, lease(a, 1, time.Hour), begin)
	// A lease that ends exactly now has not ended yet.
	for _, free := range []time.Time{begin, begin.Add(time.Hour)} {
		if err := s.Claim(t.Context(), lease(a, 2, 2*time.Hour), free); !errors.Is(err, leasestore.ErrTaken) {
			t.Errorf("Claim of another machine's address = %v; want %v", err, leasestore.ErrTaken)
		}
	}
	claim(t, s, lease(a, 1, 2*time.Hour), begin) // its own, again
	has(t, s, lease(a, 1, 2*time.Hour))
}

func ended(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	claim(t, s, lease(a, 1, time.Hour), begin)
	claim(t, s, lease(a, 2, 3*time.Hour), begin.Add(time.Hour+1))
	has(t, s, lease(a, 2, 3*time.Hour))
	claim(t, s, lease(b, 1, 3*time.Hour), begin)
	has(t, s, lease(a, 2, 3*time.Hour), lease(b, 1, 3*time.Hour))
}

func oneAddress(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	claim(t, s, lease(a, 1, time.Hour), begin)
	claim(t, s, lease(b, 1, time.Hour), begin)
	has(t, s, lease(b, 1, time.Hour))
	claim(t, s, lease(a, 2, time.Hour), begin) // which is free again
	has(t, s, lease(a, 2, time.Hour), lease(b, 1, time.Hour))
}

func renamed(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	claim(t, s, lease(a, 1, time.Hour), begin)
	now := lease(a, 1, 2*time.Hour)
	now.Pool = "great hall"
	claim(t, s, now, begin)
	has(t, s, now)
	// And its old name binds nothing: another lease under it leaves a alone.
	claim(t, s, lease(b, 1, time.Hour), begin)
	has(t, s, now, lease(b, 1, time.Hour))
}

func race(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	const machines = 50
	won := make([]bool, machines)
	var wg sync.WaitGroup
	for i := range machines {
		wg.Go(func() {
			err := s.Claim(t.Context(), lease(a, i, time.Hour), begin)
			won[i] = err == nil
			if err != nil && !errors.Is(err, leasestore.ErrTaken) {
				t.Errorf("Claim = %v; want %v", err, leasestore.ErrTaken)
			}
		})
	}
	wg.Wait()
	winner := slices.Index(won, true)
	if winner < 0 || slices.Contains(won[winner+1:], true) {
		t.Fatalf("winners: %v; want one", won)
	}
	has(t, s, lease(a, winner, time.Hour))
}

func storm(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	var want []leasestore.Lease
	var wg sync.WaitGroup
	address := netip.MustParseAddr("10.77.1.0")
	for i := range 2000 {
		l := lease(address, i, time.Hour)
		want, address = append(want, l), address.Next()
		wg.Go(func() {
			if err := s.Claim(t.Context(), l, begin); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	has(t, s, want...)
}

func begun(t *testing.T, open Open) {
	s := open(t)
	first, second := s.Begin(lease(a, 1, time.Hour), begin), s.Begin(lease(a, 2, time.Hour), begin)
	s.Begin(lease(b, 3, time.Hour), begin) // nobody looks at what comes of it
	if err := <-first; err != nil {
		t.Errorf("Begin = %v", err)
	}
	if err := <-second; !errors.Is(err, leasestore.ErrTaken) {
		t.Errorf("Begin with another machine's address = %v; want %v", err, leasestore.ErrTaken)
	}
	shut(t, s)
	s = open(t)
	defer shut(t, s)
	has(t, s, lease(a, 1, time.Hour), lease(b, 3, time.Hour))
}

// aside is what happens to an address that a machine has found in use: it takes
// it from the machine, and nobody gets it.
func aside(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	claim(t, s, lease(a, 1, time.Hour), begin)
	nobodys := leasestore.Lease{Pool: "hall", Address: a, Expires: begin.Add(10 * time.Minute)}
	claim(t, s, nobodys, begin.Add(time.Hour+1))
	has(t, s, nobodys)
	if err := s.Claim(t.Context(), lease(a, 1, time.Hour), begin); !errors.Is(err, leasestore.ErrTaken) {
		t.Errorf("Claim of an address set aside = %v; want %v", err, leasestore.ErrTaken)
	}
	claim(t, s, leasestore.Lease{Pool: "hall", Address: b, Expires: begin.Add(time.Hour)}, begin)
	if n := len(all(t, s)); n != 2 {
		t.Errorf("%d leases after two addresses were set aside; want 2", n)
	}
}

func note(t *testing.T, open Open) {
	s := open(t)
	claim(t, s, lease(a, 1, time.Hour), begin)
	s.Note(lease(a, 1, 5*time.Hour))
	s.Note(lease(a, 2, 9*time.Hour)) // another machine's
	s.Note(lease(b, 3, 9*time.Hour)) // nobody's
	shut(t, s)
	s = open(t)
	defer shut(t, s)
	has(t, s, lease(a, 1, 5*time.Hour), lease(b, 3, 9*time.Hour))
}

func patience(t *testing.T, open Open) {
	s := open(t)
	defer shut(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Either it was quick enough, or it says so.
	if err := s.Claim(ctx, lease(a, 1, time.Hour), begin); err != nil && !errors.Is(err, leasestore.ErrUnavailable) {
		t.Errorf("Claim after its time = %v; want %v", err, leasestore.ErrUnavailable)
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy() = %v; want nil", err)
	}
}

func closed(t *testing.T, open Open) {
	s := open(t)
	shut(t, s)
	if err := s.Claim(t.Context(), lease(a, 1, time.Hour), begin); !errors.Is(err, leasestore.ErrUnavailable) {
		t.Errorf("Claim in a closed store = %v; want %v", err, leasestore.ErrUnavailable)
	}
	if err := <-s.Begin(lease(a, 1, time.Hour), begin); !errors.Is(err, leasestore.ErrUnavailable) {
		t.Errorf("Begin in a closed store = %v; want %v", err, leasestore.ErrUnavailable)
	}
	s.Note(lease(a, 1, time.Hour)) // does not block
}

func claim(t *testing.T, s leasestore.Store, l leasestore.Lease, free time.Time) {
	t.Helper()
	if err := s.Claim(t.Context(), l, free); err != nil {
		t.Fatalf("Claim(%+v) = %v", l, err)
	}
}

func shut(t *testing.T, s leasestore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

func all(t *testing.T, s leasestore.Store) []leasestore.Lease {
	t.Helper()
	got, err := s.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// has tells whether these are all the leases, in any order.
func has(t *testing.T, s leasestore.Store, want ...leasestore.Lease) {
	t.Helper()
	got := all(t, s)
	if g, w := lines(got), lines(want); !slices.Equal(g, w) {
		t.Errorf("leases are\n%v; want\n%v", g, w)
	}
}

func lines(leases []leasestore.Lease) (lines []string) {
	for _, l := range leases {
		lines = append(lines, fmt.Sprintf("%s %x %s %s", l.Address, l.MAC, l.Pool, l.Expires.UTC().Format(time.RFC3339Nano)))
	}
	slices.Sort(lines)
	return lines
}
