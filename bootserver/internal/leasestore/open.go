package leasestore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// errDamaged says that a file is none of ours, or has been torn.
var errDamaged = errors.New("the file is damaged")

// Open opens the file at path, or makes it. A damaged one is moved aside, and the
// store begins empty: machines then get addresses anew, which is better than
// none. A clock that cannot be right is told in the log.
func Open(path string, log *slog.Logger) (*Bolt, error) {
	db, err := openChecked(path)
	if errors.Is(err, errDamaged) {
		aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
		if errMove := os.Rename(path, aside); errMove != nil {
			return nil, fmt.Errorf("leases: %s: %w, and cannot be moved aside: %w", path, err, errMove)
		}
		log.Error("lease file is damaged and was moved aside; machines may change addresses", "file", path, "aside", aside, "err", err)
		db, err = openChecked(path)
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("leases: %s is in use; another swarmboot serves from this state folder", path)
	case err != nil:
		return nil, fmt.Errorf("leases: open %s: %w (%s)", path, err, remedy(err))
	}
	if word := clockWord(lastWritten(db), time.Now()); word != "" {
		log.Error(word, "file", path)
	}
	return start(db, log), nil
}

// openChecked opens the file and reads all of it. What the library finds wrong
// it tells by a panic, and what it does not find is a page beyond the end of the
// file: a fault of memory. Both are errors here.
//
// The list of free pages is kept in the file (no NoFreelistSync): without it the
// library looks for them when it opens the file, in a goroutine whose panics
// nobody can catch.
func openChecked(path string) (db *bbolt.DB, err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			file.Close() // the library had no time to; it holds the lock
			db, err = nil, fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			f, err = os.OpenFile(name, flag, mode)
			file = f
			return f, err
		},
	})
	if system := syscall.Errno(0); errors.As(err, &system) || errors.Is(err, berrors.ErrTimeout) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err) // of what the library reads, not of the system
	}
	if err := check(db); err != nil {
		db.Close()
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{addresses, machines, states, facts} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// check reads every page that is in use, and then has the library compare what
// it knows of them. In this order: the library's check faults beyond our reach.
func check(db *bbolt.DB) error {
	file, err := os.ReadFile(db.Path())
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if err := walk(file, db.Info().PageSize, uint64(tx.Cursor().Bucket().Root())); err != nil {
			return err
		}
		err := tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				touch(key)
				touch(value)
				return nil
			})
		})
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		var first error
		for err := range tx.Check() { // to the end, else its goroutine stays
			if first == nil {
				first = fmt.Errorf("%w: %w", errDamaged, err)
			}
		}
		return first
	})
}

// touch reads the bytes; the compiler must not see that nobody wants the sum.
//
//go:noinline
func touch(data []byte) (sum byte) {
	for _, b := range data {
		sum ^= b
	}
	return sum
}

// A clock that is before this has not been set since power-on: a host without a
// battery begins in 1970.
var dawn = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// clockWord is what is to be told of the clock; empty if it seems right.
func clockWord(written, now time.Time) string {
	const remedy = " Set it (timedatectl set-ntp true, or hwclock)"
	switch {
	case now.Before(dawn):
		return "This host's clock says " + now.UTC().Format(time.DateOnly) + "." + remedy + "; until then no machine's lease from before ends"
	case now.Before(written.Add(-time.Hour)):
		return "This host's clock says " + now.UTC().Format(time.DateTime) + ", but leases were written at " + written.UTC().Format(time.DateTime) + "." + remedy
	}
	return ""
}

// plausible is when a lease ends. One that was written while the clock had not
// been set lasts another day, since nobody knows.
func plausible(expires, now time.Time) time.Time {
	if expires.Before(dawn) && now.After(dawn) {
		return now.Add(24 * time.Hour)
	}
	return expires
}

func lastWritten(db *bbolt.DB) (at time.Time) {
	db.View(func(tx *bbolt.Tx) error {
		return at.UnmarshalText(tx.Bucket(facts).Get(written))
	})
	return at
}
