package leasestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

var (
	addresses = []byte("addresses") // address -> record
	machines  = []byte("machines")  // pool, MAC -> address
	states    = []byte("states")    // MAC -> what is known of the machine
	facts     = []byte("facts")     //
	written   = []byte("written")   // in facts: when something was last written
)

// Bolt is a Store in one file, which one process at a time has open. One
// goroutine writes; all changes that wait are one commit, so a hall of machines
// costs a few flushes of the disk, not hundreds.
type Bolt struct {
	db  *bbolt.DB
	log *slog.Logger

	changes chan change
	closing chan struct{}
	ended   chan struct{} // closed when the writer has ended
	once    sync.Once

	mu   sync.Mutex
	sick error // why the last commit failed; guarded by mu
}

var errStopping = fmt.Errorf("%w: the boot server is stopping", ErrUnavailable)

// change is one lease to write.
type change struct {
	Lease
	free time.Time  // see Claim
	done chan error // nil: nobody waits
}

// rest is the time between two commits, in which changes gather: one commit for
// all of them costs the disk and the processor little more than one for each. A
// machine does not notice that its lease comes so much later.
const rest = 10 * time.Millisecond

// queueLen changes wait for the disk; more machines than that are told to ask
// again by silence.
const queueLen = 1024

func start(db *bbolt.DB, log *slog.Logger) *Bolt {
	b := &Bolt{db: db, log: log, changes: make(chan change, queueLen), closing: make(chan struct{}), ended: make(chan struct{})}
	go b.write()
	return b
}

// All implements Store. A lease that makes no sense is left out.
func (b *Bolt) All(context.Context) ([]Lease, error) {
	var all []Lease
	now := time.Now()
	err := b.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(addresses).ForEach(func(key, value []byte) error {
			l, err := parse(key, value)
			if err != nil {
				b.log.Warn("a stored lease was left out", "err", err)
				return nil
			}
			l.Expires = plausible(l.Expires, now)
			all = append(all, l)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read leases from %s: %w", b.db.Path(), err)
	}
	return all, nil
}

// Claim implements Store.
func (b *Bolt) Claim(ctx context.Context, l Lease, free time.Time) error {
	done := make(chan error, 1)
	select {
	case <-b.closing:
		return errStopping
	case <-ctx.Done():
		return b.slow(context.Cause(ctx))
	case b.changes <- change{Lease: l, free: free, done: done}:
	}
	select {
	case err := <-done:
		return err
	case <-b.ended:
		// The writer has perhaps answered with its last words.
		select {
		case err := <-done:
			return err
		default:
			return errStopping
		}
	case <-ctx.Done():
		return b.slow(context.Cause(ctx))
	}
}

func (b *Bolt) slow(why error) error {
	return fmt.Errorf("%w: the disk under %s does not keep up: %w", ErrUnavailable, b.db.Path(), why)
}

// Begin implements Store.
func (b *Bolt) Begin(l Lease, free time.Time) <-chan error {
	done := make(chan error, 1)
	select {
	case <-b.closing:
		done <- errStopping
		return done
	default:
	}
	select {
	case b.changes <- change{Lease: l, free: free, done: done}:
	default:
		done <- b.slow(errors.New("too many leases wait for it"))
	}
	return done
}

// Note implements Store.
func (b *Bolt) Note(l Lease) {
	select {
	case b.changes <- change{Lease: l}:
	default:
	}
}

// Healthy implements Store.
func (b *Bolt) Healthy() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sick
}

// Close implements Store.
func (b *Bolt) Close() error {
	b.once.Do(func() { close(b.closing) })
	<-b.ended
	return b.db.Close()
}

// write commits changes until the store is closed, and then what still waits.
func (b *Bolt) write() {
	defer close(b.ended)
	for {
		select {
		case first := <-b.changes:
			b.commit(first)
			time.Sleep(rest)
		case <-b.closing:
			select {
			case first := <-b.changes:
				b.commit(first)
			default:
				return
			}
		}
	}
}

// commit writes what waits, all or nothing, and tells those who wait for it.
func (b *Bolt) commit(first change) {
	batch := []change{first}
	for len(b.changes) > 0 && len(batch) < queueLen {
		batch = append(batch, <-b.changes)
	}
	results := make([]error, len(batch))
	err := b.db.Update(func(tx *bbolt.Tx) error {
		for i, c := range batch {
			err := apply(tx, c)
			if err != nil && !errors.Is(err, ErrTaken) {
				return err
			}
			results[i] = err
		}
		now, err := time.Now().UTC().MarshalText()
		if err != nil {
			return err
		}
		return tx.Bucket(facts).Put(written, now)
	})
	if err != nil {
		err = b.unavailable(err)
	}
	b.mu.Lock()
	before := b.sick
	b.sick = err
	b.mu.Unlock()
	switch {
	case err != nil && before == nil:
		b.log.Error("leases cannot be stored; machines that need a new one get no address", "err", err)
	case err == nil && before != nil:
		b.log.Info("leases can be stored again")
	}
	for i, c := range batch {
		if c.done == nil {
			continue
		}
		if err != nil {
			c.done <- err
		} else {
			c.done <- results[i]
		}
	}
}

func (b *Bolt) unavailable(err error) error {
	return fmt.Errorf("%w in %s: %w (%s)", ErrUnavailable, b.db.Path(), err, remedy(err))
}

// Remember implements Store.
func (b *Bolt) Remember(known map[[6]byte][]byte) error {
	err := b.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(states)
		for mac, state := range known {
			put := func() error { return bucket.Put(mac[:], state) }
			if state == nil {
				put = func() error { return bucket.Delete(mac[:]) }
			}
			if err := put(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return b.unavailable(err)
	}
	return nil
}

// States implements Store.
func (b *Bolt) States() (map[[6]byte][]byte, error) {
	known := map[[6]byte][]byte{}
	err := b.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(states).ForEach(func(mac, state []byte) error {
			if len(mac) == 6 {
				known[[6]byte(mac)] = bytes.Clone(state)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read machines from %s: %w", b.db.Path(), err)
	}
	return known, nil
}

// apply makes one change, or none with ErrTaken.
func apply(tx *bbolt.Tx, c change) error {
	byAddress, byMachine := tx.Bucket(addresses), tx.Bucket(machines)
	key := c.Address.AsSlice()
	if value := byAddress.Get(key); value != nil {
		// One that makes no sense binds nobody.
		if before, err := parse(key, value); err == nil {
			other := before.MAC != c.MAC
			if other && !before.Expires.Before(c.free) {
				return fmt.Errorf("%s: %w", c.Address, ErrTaken)
			}
			if other || before.Pool != c.Pool {
				if err := byMachine.Delete(machineKey(before)); err != nil {
					return err
				}
			}
		}
	}
	if c.MAC != [6]byte{} {
		index := machineKey(c.Lease)
		former := byMachine.Get(index)
		if former != nil && string(former) != string(key) {
			if err := byAddress.Delete(former); err != nil {
				return err
			}
		}
		if string(former) != string(key) { // a page less to write whenever a machine comes back
			if err := byMachine.Put(index, key); err != nil {
				return err
			}
		}
	}
	return byAddress.Put(key, record(key, c.Lease))
}

func machineKey(l Lease) []byte { return append([]byte(l.Pool+"\x00"), l.MAC[:]...) }

// remedy is what an admin can do about a failed write.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on its file system; no restart is needed"
	case errors.Is(err, syscall.EROFS):
		return "its file system is read-only, perhaps after a fault of the disk; look at dmesg"
	case errors.Is(err, syscall.EIO):
		return "the disk fails; look at dmesg, and move the state folder to another one"
	}
	return "leases are written again as soon as that is mended"
}
