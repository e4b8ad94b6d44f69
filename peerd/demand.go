package peerd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/internal/piecestore"
)

const (
	patience      = 3 * time.Second        // a read waits so long for a swarm that brings nothing; it asks a second source after 1 s
	lastPatience  = 4 * patience           // and so long for one that brings something, but not what the read waits for
	shortPatience = 300 * time.Millisecond // the same when there is no swarm to wait for
	lookAgain     = 500 * time.Millisecond // how soon to judge anew while reads wait
	maxFetches    = 4                      // pieces asked of the boot server at once

	firstBackoff = 250 * time.Millisecond // after a fetch that failed,
	lastBackoff  = 5 * time.Second        // doubled up to this
)

// swarmEngine is what the fallback asks of the engine.
type swarmEngine interface {
	Demand(pieces []int)
	Reserve(ctx context.Context, piece int) // it shall leave the piece to us
	Release(piece int)
	Have(piece int)
	HasSwarm() bool   // it runs and has a peer
	Moved() time.Time // when it last brought bytes
}

// fallback sees to it that every piece a read waits for comes: it tells the
// engine at once, and fetches over HTTP what the engine has not brought in
// time, again and again for as long as a read waits. Where there is no swarm when
// a fetch begins, an engine that meets one meanwhile leaves the piece to the
// fetch; else the two race, as nobody knows which way is the broken one.
type fallback struct {
	store  *piecestore.Store
	engine swarmEngine
	fetch  func(ctx context.Context, piece int) ([]byte, error)
	log    *slog.Logger

	mu      sync.Mutex
	fetched fetchStats // guarded by mu
}

// fetchStats counts what has come over HTTP.
type fetchStats struct {
	bytes    int64
	rejected int // pieces
}

func newFallback(url string, store *piecestore.Store, engine swarmEngine, log *slog.Logger) *fallback {
	return &fallback{store: store, engine: engine, fetch: newFetcher(url, store.Pieces()).fetch, log: log}
}

func (f *fallback) stats() fetchStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetched
}

// run works until ctx is done.
func (f *fallback) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	results := make(chan result)
	fetching := map[int]context.CancelFunc{}
	var told []int          // the demand the engine knows
	var backoff backoffTime // of all fetches: there is one server

	for {
		wants := f.store.Wanted()
		now := time.Now()
		for piece, cancel := range fetching {
			if !slices.Contains(piecesOf(wants), piece) {
				cancel() // it has come, or nobody waits any more
			}
		}
		start, again := overdue(wants, now, f.deadline(), backoff.until, func(piece int) bool { return fetching[piece] != nil })
		for _, piece := range start[:min(len(start), maxFetches-len(fetching))] {
			fetchCtx, cancel := context.WithCancel(ctx)
			fetching[piece] = cancel
			wg.Go(func() {
				r := result{piece, f.bring(fetchCtx, piece)}
				select {
				case results <- r:
				case <-ctx.Done():
				}
			})
		}

		if pieces := piecesOf(wants); !slices.Equal(pieces, told) {
			f.engine.Demand(pieces)
			told = pieces
		}

		timer := time.NewTimer(again)
		select {
		case <-f.store.Changed():
		case <-timer.C:
		case r := <-results:
			fetching[r.piece]()
			delete(fetching, r.piece)
			f.judge(r, &backoff)
		case <-ctx.Done():
			for _, cancel := range fetching {
				cancel()
			}
			return
		}
		timer.Stop()
	}
}

// result is the end of one fetch.
type result struct {
	piece int
	err   error
}

// judge lets a failed fetch delay the next ones.
func (f *fallback) judge(r result, backoff *backoffTime) {
	switch {
	case r.err == nil:
		backoff.reset()
	case errors.Is(r.err, context.Canceled):
	default:
		if backoff.delay == 0 { // once per outage
			f.log.Warn("the boot server does not give a piece over HTTP", "piece", r.piece, "err", r.err)
		}
		backoff.grow(time.Now())
	}
}

// bring fetches one piece, stores it and has the engine announce it.
func (f *fallback) bring(ctx context.Context, piece int) error {
	if !f.engine.HasSwarm() {
		f.engine.Reserve(ctx, piece)
		defer f.engine.Release(piece)
	}
	data, err := f.fetch(ctx, piece)
	if err != nil {
		return err
	}
	err = f.store.Put(piece, data)
	f.mu.Lock()
	if errors.Is(err, images.ErrBadPiece) {
		f.fetched.rejected++
	} else {
		f.fetched.bytes += int64(len(data))
	}
	f.mu.Unlock()
	if err == nil {
		f.engine.Have(piece)
	}
	return err
}

// deadline tells until when a piece is left to the swarm. A slow link, or a
// computer that is short of time, is no reason to fetch a piece twice.
func (f *fallback) deadline() func(since time.Time) time.Time {
	if !f.engine.HasSwarm() {
		return func(since time.Time) time.Time { return since.Add(shortPatience) }
	}
	moved := f.engine.Moved()
	return func(since time.Time) time.Time {
		due := since.Add(patience)
		if later := moved.Add(patience); later.After(due) {
			due = later
		}
		if last := since.Add(lastPatience); last.Before(due) {
			due = last
		}
		return due
	}
}

// overdue picks the wanted pieces whose deadline is over and which are not
// being fetched, and says when to look again.
func overdue(wants []piecestore.Want, now time.Time, deadline func(since time.Time) time.Time, notBefore time.Time, fetching func(int) bool) (start []int, again time.Duration) {
	again = lookAgain
	if len(wants) == 0 {
		again = time.Hour // whoever begins to wait tells
	}
	for _, w := range wants {
		if fetching(w.Piece) {
			continue
		}
		due := deadline(w.Since)
		if due.Before(notBefore) {
			due = notBefore
		}
		if wait := due.Sub(now); wait > 0 {
			again = min(again, wait)
		} else {
			start = append(start, w.Piece)
		}
	}
	return start, again
}

func piecesOf(wants []piecestore.Want) []int {
	pieces := make([]int, len(wants))
	for i, w := range wants {
		pieces[i] = w.Piece
	}
	return pieces
}

// backoffTime is a delay that doubles with each failure.
type backoffTime struct {
	delay time.Duration
	until time.Time
}

func (b *backoffTime) grow(now time.Time) {
	b.delay = min(max(2*b.delay, firstBackoff), lastBackoff)
	b.until = now.Add(b.delay)
}

func (b *backoffTime) reset() { *b = backoffTime{} }
