package dhcp

import (
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/bootserver/internal/leasestore"
)

var (
	m1, m2, m3 = MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}, MAC{2, 0, 0, 0, 0, 3}
	noon       = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func address(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, last}) }

// small is a pool of 10.77.0.10 to .12; .12 is reserved for m3.
func small() Pool {
	return Pool{First: address(10), Last: address(12), Except: []netip.Addr{address(1)}, Reserved: map[MAC]netip.Addr{m3: address(12)}, Lease: time.Hour}
}

// open opens leases on a file, until stop or the end of the test.
func open(t *testing.T, path string, pool Pool) (l *leases, stop func()) {
	t.Helper()
	st, err := leasestore.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { st.Close() })
	t.Cleanup(stop)
	known, err := readLeases(st)
	if err != nil {
		t.Fatal(err)
	}
	return newLeases("lab", pool, known, st), stop
}

// claimed tells whether mac has address, once that is settled.
func claimed(t *testing.T, l *leases, mac MAC, address netip.Addr, now time.Time) (bool, error) {
	c := l.claim(mac, address, now)
	if c == nil {
		return false, nil
	}
	return c.settle(t.Context())
}

func grant(t *testing.T, l *leases, mac MAC, now time.Time) netip.Addr {
	t.Helper()
	a, _, err := l.offer(mac, netip.Addr{}, now)
	if err != nil {
		t.Fatalf("offer to %s: %v", mac, err)
	}
	if ok, err := claimed(t, l, mac, a, now); !ok || err != nil {
		t.Fatalf("claim of %s by %s = %v, %v", a, mac, ok, err)
	}
	return a
}

func TestAMachineKeepsItsAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	l, stop := open(t, path, small())
	first := grant(t, l, m1, noon)
	other := grant(t, l, m2, noon)
	if first == other {
		t.Fatalf("two machines got %s", first)
	}
	if again, _, _ := l.offer(m1, other, noon); again != first {
		t.Errorf("offer at the next stage = %s; want %s again", again, first)
	}
	stop()

	l, _ = open(t, path, small())
	if owner, ok := l.owner(first); !ok || owner != m1 {
		t.Errorf("after a restart the owner of %s is %s, %v; want %s", first, owner, ok, m1)
	}
	if again := grant(t, l, m1, noon.Add(48*time.Hour)); again != first {
		t.Errorf("after a restart and the lease's end: %s; want %s again", again, first)
	}
}

func TestAnOfferIsNoLease(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "leases.db"), small())
	a, _, err := l.offer(m1, netip.Addr{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := l.owner(a); ok {
		t.Errorf("owner of an offered address = %s; want nobody", owner)
	}
	if ok, _ := claimed(t, l, m2, a, noon); ok {
		t.Error("another machine could claim a held address")
	}
	if ok, _ := claimed(t, l, m2, a, noon.Add(2*holdTime)); !ok {
		t.Error("the address is still held after the offer's end")
	}
}

func TestReservations(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "leases.db"), small())
	if got := grant(t, l, m3, noon); got != address(12) {
		t.Errorf("reserved machine got %s; want %s", got, address(12))
	}
	if ok, _ := claimed(t, l, m3, address(10), noon); ok {
		t.Error("reserved machine could claim another address")
	}
	grant(t, l, m1, noon)
	grant(t, l, m2, noon)
	if a, _, err := l.offer(MAC{2, 9}, netip.Addr{}, noon); !errors.Is(err, errPoolEmpty) {
		t.Errorf("offer from an empty pool = %s, %v; want errPoolEmpty", a, err)
	}
	if ok, _ := claimed(t, l, MAC{2, 9}, address(1), noon); ok {
		t.Error("the server's own address could be claimed")
	}
}

func TestAReservationThatIsNewWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	l, stop := open(t, path, small())
	got := grant(t, l, m1, noon)
	stop()
	pool := small()
	pool.Reserved[m2] = got
	l, _ = open(t, path, pool)
	if again := grant(t, l, m2, noon); again != got {
		t.Errorf("m2 got %s; want its reservation %s", again, got)
	}
	if again := grant(t, l, m1, noon); again == got {
		t.Errorf("m1 kept %s, which is reserved for m2", got)
	}
}

func TestTheOldestAddressIsReused(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "leases.db"), small())
	oldest := grant(t, l, m1, noon)
	grant(t, l, m2, noon.Add(time.Minute))
	newcomer := MAC{2, 9}
	if _, _, err := l.offer(newcomer, netip.Addr{}, noon.Add(62*time.Minute)); !errors.Is(err, errPoolEmpty) {
		t.Errorf("offer in the time of grace: %v; want errPoolEmpty", err)
	}
	if got := grant(t, l, newcomer, noon.Add(2*time.Hour)); got != oldest {
		t.Errorf("newcomer got %s; want the address longest out of use, %s", got, oldest)
	}
	if a := l.address(m1); a.IsValid() {
		t.Errorf("m1 still has %s", a)
	}
}

func TestHeardMachinesKeepTheirLease(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "leases.db"), small())
	a := grant(t, l, m1, noon)
	grant(t, l, m2, noon)
	l.touch(m1, noon.Add(50*time.Minute))
	newcomer := grant(t, l, MAC{2, 9}, noon.Add(80*time.Minute))
	if newcomer == a {
		t.Error("a machine that was heard lost its address")
	}
}

func TestDeclineAndRelease(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "leases.db"), small())
	a := grant(t, l, m1, noon)
	if l.decline(m2, a, noon) {
		t.Error("a machine could decline the address of another")
	}
	if !l.decline(m1, a, noon) {
		t.Error("decline by the owner was ignored")
	}
	if got := grant(t, l, m1, noon); got == a {
		t.Errorf("m1 got %s again, which it had found in use", a)
	}
	if _, ok := l.owner(a); ok {
		t.Errorf("%s still has an owner", a)
	}

	b := l.address(m1)
	l.release(m1, b, noon)
	if got := grant(t, l, m1, noon.Add(time.Minute)); got != b {
		t.Errorf("after a release m1 got %s; want %s again", got, b)
	}
	if a := grant(t, l, m3, noon); !l.decline(m3, a, noon) {
		t.Error("decline of a reserved address was ignored")
	}
	if _, _, err := l.offer(m3, netip.Addr{}, noon); !errors.Is(err, errInUse) {
		t.Errorf("offer of a reserved address in use: %v; want errInUse", err)
	}
}

// TestTheStoreKnowsBetter: an address that is stored for another machine, by
// another server perhaps, is not given away, and the machine gets another one.
func TestTheStoreKnowsBetter(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "leases.db"), small())
	a, _, err := l.offer(m1, netip.Addr{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.store.Claim(t.Context(), leasestore.Lease{Pool: "lab", Address: a, MAC: m2, Expires: noon.Add(time.Hour)}, noon); err != nil {
		t.Fatal(err)
	}
	if ok, err := claimed(t, l, m1, a, noon); ok || err != nil {
		t.Errorf("claim of another machine's address = %v, %v; want a refusal", ok, err)
	}
	if b := grant(t, l, m1, noon); b == a {
		t.Errorf("m1 got %s, which is another machine's", a)
	}
}

// TestFullDisk: machines that are known boot although nothing can be written.
func TestFullDisk(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "leases.db"), small())
	a := grant(t, l, m1, noon)
	full := errors.New("no space left on device")
	l.store = brokenStore{l.store, full}
	for mac, address := range map[MAC]netip.Addr{m1: a, m3: address(12)} {
		if ok, err := claimed(t, l, mac, address, noon.Add(time.Minute)); !ok || err != nil {
			t.Errorf("claim by %s, which is known = %v, %v; want yes", mac, ok, err)
		}
	}
	b, _, err := l.offer(m2, netip.Addr{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the machine tries again, and is not known by that
		if _, err := claimed(t, l, m2, b, noon); !errors.Is(err, full) {
			t.Errorf("claim of a new address = %v; want %v", err, full)
		}
	}
	if mac, ok := l.owner(b); ok {
		t.Errorf("%s, which could not be stored, is %s's", b, mac)
	}
}

// TestADiskThatHangs is waited for no longer than machines wait: those that are
// known boot, and no other is told an address.
func TestADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeases("lab", small(), map[key]lease{}, hangingStore{})
		begun := time.Now()
		reserved, stranger := l.claim(m3, address(12), begun), l.claim(m1, address(10), begun)
		if granted, err := reserved.settle(t.Context()); !granted || err != nil {
			t.Errorf("the claim of a reserved address = %v, %v; want yes", granted, err)
		}
		if granted, err := stranger.settle(t.Context()); granted || !errors.Is(err, leasestore.ErrUnavailable) {
			t.Errorf("the claim of a new address = %v, %v; want %v", granted, err, leasestore.ErrUnavailable)
		}
		if took := time.Since(begun); took != writeWait {
			t.Errorf("both took %v; want %v", took, writeWait)
		}
		if mac, ok := l.owner(address(10)); ok {
			t.Errorf("what could not be stored is %s's", mac)
		}
	})
}

// hangingStore takes what is to be written and never tells what came of it.
type hangingStore struct{ leasestore.Store }

func (hangingStore) Begin(leasestore.Lease, time.Time) <-chan error { return make(chan error) }

// brokenStore cannot write.
type brokenStore struct {
	leasestore.Store
	err error
}

func (s brokenStore) Begin(leasestore.Lease, time.Time) <-chan error {
	done := make(chan error, 1)
	done <- s.err
	return done
}
