package leasestore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

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

// openChecked opens the file and checks all of it. What the library finds wrong it
// tells by an error or a panic; both are errDamaged here.
//
// The list of free pages is kept in the file (no NoFreelistSync): without it the
// library looks for them when it opens the file, in a goroutine whose panics
// nobody can catch.
func openChecked(path string) (db *bbolt.DB, err error) {
	var file *os.File
	defer func() {
		if p := recover(); p != nil {
			file.Close() // the library had no time to; it holds the lock
			db, err = nil, fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			file, err = openSound(name, flag, mode)
			return file, err
		},
	})
	if err != nil {
		return nil, orDamaged(err)
	}
	err = db.View(check)
	if err == nil {
		err = db.Update(func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{addresses, machines, states, facts} {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		db.Close()
		return nil, orDamaged(err)
	}
	return db, nil
}

// orDamaged makes errDamaged of what the library says of the file's content, and
// leaves the words of the operating system, and of a file in use, as they are.
func orDamaged(err error) error {
	if system := syscall.Errno(0); errors.As(err, &system) || errors.Is(err, berrors.ErrTimeout) || errors.Is(err, errDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// openSound opens the file and locks it as the library does after it: while it is
// read here nobody else writes to it. An empty file is one that is about to be made.
func openSound(name string, flag int, mode os.FileMode) (f *os.File, err error) {
	f, err = os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	err = lock(f)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(f)
	if err == nil && len(content) > 0 {
		err = sound(content)
	}
	return f, err
}

// lock waits up to a second for a server that is about to end.
func lock(f *os.File) error {
	const attempts = 20
	for range attempts {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		time.Sleep(time.Second / attempts)
	}
	return berrors.ErrTimeout
}

// check has the library compare all that it knows of its pages.
func check(tx *bbolt.Tx) error {
	var first error
	for err := range tx.Check() { // to the end, else its goroutine stays
		if first == nil {
			first = fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return first
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
