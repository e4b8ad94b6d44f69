package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

var bucket = []byte("leases") // IPv4 address, 4 bytes -> lease as JSON

// store keeps leases in a bbolt file. One goroutine writes; all changes that
// wait are one commit, so a hall of machines costs a few flushes, not hundreds.
type store struct {
	db      *bbolt.DB
	changes chan change
	log     *slog.Logger
}

// change is one lease to write, or to remove if lease is nil.
type change struct {
	address netip.Addr
	lease   *lease
	done    chan error // may be nil: nobody waits
}

// openStore opens the file or makes it. A damaged file is moved aside: machines
// then get addresses anew, which is better than none.
func openStore(path string, log *slog.Logger) (*store, error) {
	db, err := openDB(path)
	if errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch) {
		aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
		if errMove := os.Rename(path, aside); errMove != nil {
			return nil, fmt.Errorf("leases: %s is damaged (%v) and cannot be moved aside: %w", path, err, errMove)
		}
		log.Error("lease file is damaged and was moved aside; machines may change addresses", "file", path, "aside", aside, "err", err)
		db, err = openDB(path)
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("leases: %s is in use; another swarmboot serves from this state folder", path)
	}
	if err != nil {
		return nil, fmt.Errorf("leases: open %s: %w", path, err)
	}
	return &store{db: db, changes: make(chan change, 1024), log: log}, nil
}

func openDB(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// load reads all leases; one that makes no sense is left out.
func (s *store) load() (map[netip.Addr]lease, error) {
	known := map[netip.Addr]lease{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(key, value []byte) error {
			var entry lease
			address, _ := netip.AddrFromSlice(key)
			if err := json.Unmarshal(value, &entry); err != nil || !address.Is4() {
				s.log.Warn("a stored lease was left out", "key", fmt.Sprintf("%x", key), "err", err)
				return nil
			}
			known[address] = entry
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("leases: read: %w", err)
	}
	return known, nil
}

// write returns when the lease is on disk.
func (s *store) write(ctx context.Context, address netip.Addr, entry lease) error {
	done := make(chan error, 1)
	select {
	case s.changes <- change{address, &entry, done}:
	case <-ctx.Done():
		return fmt.Errorf("lease of %s: the disk does not keep up: %w", address, ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("lease of %s: the disk does not keep up: %w", address, ctx.Err())
	}
}

// put hands a change over that nobody waits for. When the queue is full it is
// lost, and the next packet of the machine makes it again.
func (s *store) put(c change) {
	select {
	case s.changes <- c:
	default:
	}
}

// run commits changes until ctx is done, and then what is still waiting.
func (s *store) run(ctx context.Context) {
	for {
		select {
		case first := <-s.changes:
			s.commit(first)
		case <-ctx.Done():
			select {
			case first := <-s.changes:
				s.commit(first)
			default:
				return
			}
		}
	}
}

func (s *store) commit(first change) {
	batch := []change{first}
	for len(s.changes) > 0 {
		batch = append(batch, <-s.changes)
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for _, c := range batch {
			if c.lease == nil {
				if err := b.Delete(c.address.AsSlice()); err != nil {
					return err
				}
				continue
			}
			value, err := json.Marshal(c.lease)
			if err != nil {
				return err
			}
			if err := b.Put(c.address.AsSlice(), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("write leases to %s: %w", s.db.Path(), err)
		s.log.Error("leases were not written; machines get no address", "err", err)
	}
	for _, c := range batch {
		if c.done != nil {
			c.done <- err
		}
	}
}

func (s *store) close() error { return s.db.Close() }
