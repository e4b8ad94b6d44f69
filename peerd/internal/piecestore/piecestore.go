// Package piecestore keeps a machine's image: one preallocated file in memory,
// of which only verified pieces are ever filled.
//
// peerd's root server is the one that writes it. The FUSE file waits here for
// the pieces of each read (Wait), the swarm engine and the HTTP fallback bring
// pieces (Put), and what the waiting reads want can be asked at any time
// (Wanted, Changed).
package piecestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/images"
	"swarmboot/initramfs/stage"
)

// ErrMissing says that bytes were asked for that are not here yet.
var ErrMissing = errors.New("piece is not here yet")

// Store is the image file and the knowledge which of its pieces are here.
type Store struct {
	pieces   images.Pieces
	reader   *os.File      // the finished file is served from it
	complete chan struct{} // closed with the last piece
	changed  chan struct{} // holds a token when waiting has changed

	writing sync.Mutex // held while a piece is written
	writer  *os.File   // nil once complete; guarded by writing

	mu         sync.Mutex
	have       []bool        // guarded by mu, like all below
	missing    int           // pieces not here
	waiting    map[int]*wait // missing pieces that reads wait for
	touched    []stage.Touch // first read of each piece, in order
	seen       []bool        // pieces in touched
	opened     time.Time     // zero of the read log
	lastWait   time.Time     // when a read last began to wait or stopped waiting
	duplicates int64         // bytes that came although they were here
}

// wait is one missing piece that at least one read waits for.
type wait struct {
	since   time.Time
	reads   int
	arrived chan struct{}
}

// A Want is a missing piece and since when a read has waited for it.
type Want struct {
	Piece int
	Since time.Time
}

// Create makes the image file at path and reserves all of its bytes.
func Create(path string, pieces images.Pieces) (*Store, error) {
	writer, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return nil, fmt.Errorf("create the image file: %w", err)
	}
	if err := unix.Fallocate(int(writer.Fd()), 0, 0, pieces.Size); err != nil {
		writer.Close()
		return nil, fmt.Errorf("reserve %s for the image file %s: %w", mebibytes(pieces.Size), path, err)
	}
	reader, err := os.Open(path)
	if err != nil {
		writer.Close()
		return nil, fmt.Errorf("open the image file: %w", err)
	}
	now := time.Now()
	return &Store{
		pieces:   pieces,
		reader:   reader,
		writer:   writer,
		complete: make(chan struct{}),
		changed:  make(chan struct{}, 1),
		have:     make([]bool, pieces.Count()),
		seen:     make([]bool, pieces.Count()),
		missing:  pieces.Count(),
		waiting:  map[int]*wait{},
		opened:   now,
		lastWait: now,
	}, nil
}

// Close releases the file. Whoever has it open goes on reading it.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var err error
	if s.writer != nil {
		err = s.writer.Close()
		s.writer = nil
	}
	return errors.Join(err, s.reader.Close())
}

// Pieces describes the image.
func (s *Store) Pieces() images.Pieces { return s.pieces }

// File is the image file, open for reading. Bytes of pieces that are not here
// read as zeros: ask Wait or Has first.
func (s *Store) File() *os.File { return s.reader }

// Complete is closed when every piece is here. From then on nobody has the
// file open for writing.
func (s *Store) Complete() <-chan struct{} { return s.complete }

// Changed gives a token when Wanted may answer differently than before.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Put verifies data as piece i and stores it. A piece that is here already is
// left as it is; wrong bytes are refused with images.ErrBadPiece.
func (s *Store) Put(i int, data []byte) error {
	if err := s.pieces.Verify(i, data); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.Has(i) {
		s.mu.Lock()
		s.duplicates += int64(len(data))
		s.mu.Unlock()
		return nil
	}
	if s.writer == nil {
		return fmt.Errorf("store piece %d: %w", i, os.ErrClosed)
	}
	if _, err := s.writer.WriteAt(data, s.pieces.Offset(i)); err != nil {
		return fmt.Errorf("store piece %d: %w", i, err)
	}
	if s.arrive(i) == 0 {
		err := s.writer.Close()
		s.writer = nil
		close(s.complete)
		if err != nil {
			return fmt.Errorf("store the last piece, %d: %w", i, err)
		}
	}
	return nil
}

// arrive marks piece i as here, wakes the reads that wait for it and returns
// how many pieces are still missing.
func (s *Store) arrive(i int) (missing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have[i] = true
	s.missing--
	if w := s.waiting[i]; w != nil {
		delete(s.waiting, i)
		close(w.arrived)
		s.waitingChanged()
	}
	return s.missing
}

// Has tells whether piece i is here.
func (s *Store) Has(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i >= 0 && i < len(s.have) && s.have[i]
}

// Have returns a copy of the piece map.
func (s *Store) Have() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.have)
}

// ReadAt reads verified bytes; it does not wait, and fails with ErrMissing.
func (s *Store) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > 0 && off >= 0 && off < s.pieces.Size {
		first, last := s.pieces.Spanned(off, int(min(int64(len(p)), s.pieces.Size-off)))
		for i := first; i <= last; i++ {
			if !s.Has(i) {
				return 0, fmt.Errorf("read piece %d: %w", i, ErrMissing)
			}
		}
	}
	return s.reader.ReadAt(p, off)
}

// Wait returns when pieces first to last are all here, or with ctx's error. It
// is how a read says what it needs: the missing ones among them are Wanted, and
// the first touch of each enters the read log.
func (s *Store) Wait(ctx context.Context, first, last int) error {
	for i, w := range s.enter(first, last) {
		select {
		case <-w.arrived:
		case <-ctx.Done():
			s.leave(first, last)
			return fmt.Errorf("wait for piece %d: %w", i, ctx.Err())
		}
	}
	return nil
}

// enter notes the touch and returns the missing pieces' waits, joined.
func (s *Store) enter(first, last int) map[int]*wait {
	s.mu.Lock()
	defer s.mu.Unlock()
	var waits map[int]*wait
	for i := first; i <= last; i++ {
		if !s.seen[i] {
			s.seen[i] = true
			s.touched = append(s.touched, stage.Touch{Piece: i, Millis: time.Since(s.opened).Milliseconds()})
		}
		if s.have[i] {
			continue
		}
		w := s.waiting[i]
		if w == nil {
			w = &wait{since: time.Now(), arrived: make(chan struct{})}
			s.waiting[i] = w
			s.waitingChanged()
		}
		w.reads++
		if waits == nil {
			waits = map[int]*wait{}
		}
		waits[i] = w
	}
	return waits
}

// leave is the end of a read that gives up.
func (s *Store) leave(first, last int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := first; i <= last; i++ {
		if w := s.waiting[i]; w != nil {
			if w.reads--; w.reads == 0 {
				delete(s.waiting, i)
				s.waitingChanged()
			}
		}
	}
}

// waitingChanged is called with mu held.
func (s *Store) waitingChanged() {
	s.lastWait = time.Now()
	select {
	case s.changed <- struct{}{}:
	default: // a token is there already
	}
}

// Wanted lists the missing pieces that reads wait for, the longest wait first.
func (s *Store) Wanted() []Want {
	s.mu.Lock()
	defer s.mu.Unlock()
	wants := make([]Want, 0, len(s.waiting))
	for i, w := range s.waiting {
		wants = append(wants, Want{i, w.since})
	}
	slices.SortFunc(wants, func(a, b Want) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return a.Piece - b.Piece
	})
	return wants
}

// Idle is how long no read has waited.
func (s *Store) Idle() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) > 0 {
		return 0
	}
	return time.Since(s.lastWait)
}

// Counts are the store's part of a progress report.
type Counts struct {
	Have, Touched, Waiting int   // pieces
	Duplicates             int64 // bytes
}

// Counts says how far the image has come.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{
		Have:       len(s.have) - s.missing,
		Touched:    len(s.touched),
		Waiting:    len(s.waiting),
		Duplicates: s.duplicates,
	}
}

// Touched is the read log: the first read of each piece, in order.
func (s *Store) Touched() []stage.Touch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.touched)
}
