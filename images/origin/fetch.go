package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
)

// How long a store that does not answer is asked again: after half a second, a
// second and so on, each time that nothing came anew; two minutes in all.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
	maxTries   = 9

	// stalled is how long a transfer may stand still until it is begun anew.
	stalled = 30 * time.Second
)

// fetch adds to f what it lacks of the blob that want describes, and compares it.
// A transfer that breaks off is taken up where it was.
func (s *Store) fetch(ctx context.Context, want images.Part, f *os.File, arrived func(n int64)) error {
	name, size := catalogue.BlobName(want.SHA256), want.Size
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	arrived(have)
	err = s.repeat(ctx, func(ctx context.Context, alive func()) (progress bool, err error) {
		if have >= size {
			return false, nil
		}
		r, err := s.files.get(ctx, name, have)
		if err != nil {
			return false, err
		}
		defer r.Close()
		n, err := io.Copy(f, io.LimitReader(reader(func(p []byte) (int, error) {
			n, err := r.Read(p)
			alive()
			arrived(int64(n))
			return n, err
		}), size-have))
		have += n
		if err == nil && have < size {
			err = io.ErrUnexpectedEOF
		}
		return n > 0, err
	})
	if err != nil {
		return fmt.Errorf("fetch %s from %s: %w", name, s, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := want.Verify(f); err != nil { // it would be as wrong when it is taken up again
		return errors.Join(fmt.Errorf("fetch %s from %s: it has %w", name, s, err), f.Truncate(0))
	}
	return nil
}

// read fetches a small file.
func (s *Store) read(ctx context.Context, name string, limit int64) ([]byte, error) {
	var data bytes.Buffer
	err := s.repeat(ctx, func(ctx context.Context, _ func()) (bool, error) {
		data.Reset()
		r, err := s.files.get(ctx, name, 0)
		if err != nil {
			return false, err
		}
		defer r.Close()
		_, err = io.Copy(&data, io.LimitReader(r, limit+1))
		return false, err
	})
	if err == nil && int64(data.Len()) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", name, s, err)
	}
	return data.Bytes(), nil
}

// has tells whether the store has the file called name with that size.
func (s *Store) has(ctx context.Context, to writable, name string, size int64) (has bool, err error) {
	err = s.repeat(ctx, func(ctx context.Context, _ func()) (bool, error) {
		there, err := to.size(ctx, name)
		has = err == nil && there == size
		return false, err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for %s at %s: %w", name, s, err)
	}
	return has, nil
}

// send makes the file called name, or makes it anew.
func (s *Store) send(ctx context.Context, to writable, name string, f io.ReadSeeker, size int64) error {
	err := s.repeat(ctx, func(ctx context.Context, alive func()) (bool, error) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return false, refusal{err}
		}
		return false, to.put(ctx, name, reader(func(p []byte) (int, error) {
			alive()
			return f.Read(p)
		}), size)
	})
	if err != nil {
		return fmt.Errorf("send %s to %s: %w", name, s, err)
	}
	return nil
}

// repeat calls do until it succeeds, is refused, or has got nowhere for too long.
// do says whether it has got any further, and calls alive as it does.
func (s *Store) repeat(ctx context.Context, do func(ctx context.Context, alive func()) (progress bool, err error)) error {
	pause := s.pause
	for tries := 1; ; tries++ {
		trying, stop := context.WithCancelCause(ctx)
		watch := time.AfterFunc(stalled, func() { stop(fmt.Errorf("nothing has come for %v", stalled)) })
		progress, err := do(trying, func() { watch.Reset(stalled) })
		watch.Stop()
		if cause := context.Cause(trying); err != nil && cause != nil {
			err = cause
		}
		stop(nil)
		var refused refusal
		if err == nil || ctx.Err() != nil || errors.As(err, &refused) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if progress {
			tries, pause = 1, s.pause
		}
		if tries == maxTries {
			return fmt.Errorf("%w (tried %d times)", err, tries)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// reader is a function that reads.
type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }
