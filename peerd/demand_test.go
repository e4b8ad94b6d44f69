package peerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm/swarmtest"
)

// fakeEngine hears orders, and has a swarm or not.
type fakeEngine struct {
	mu      sync.Mutex
	swarm   bool
	moves   bool // it always brings bytes of other pieces
	demands [][]int
	leaves  []string // to fetches over HTTP
	haves   []int
}

func (e *fakeEngine) Demand(pieces []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.demands = append(e.demands, pieces)
}
func (e *fakeEngine) Reserve(_ context.Context, piece int) { e.leave("leaves ", piece) }
func (e *fakeEngine) Release(piece int)                    { e.leave("takes ", piece) }
func (e *fakeEngine) leave(what string, piece int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaves = append(e.leaves, fmt.Sprint(what, piece))
}
func (e *fakeEngine) Have(piece int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.haves = append(e.haves, piece)
}
func (e *fakeEngine) HasSwarm() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.swarm }

func (e *fakeEngine) Moved() time.Time {
	if e.moves {
		return time.Now()
	}
	return time.Time{}
}

func newTestStore(t *testing.T) (*piecestore.Store, []byte) {
	data, pieces := swarmtest.Image(12*images.MinPieceLength, images.MinPieceLength)
	store, err := piecestore.Create(filepath.Join(t.TempDir(), "root"), pieces)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store, data
}

// inBubble runs a fallback whose fetches are answered by fetch, and returns how
// long a read of piece 3 took. swarm is what the engine has; meanwhile runs
// beside the read.
func inBubble(t *testing.T, engine *fakeEngine, fetch func(ctx context.Context, piece int) error, meanwhile func(*piecestore.Store, []byte)) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		store, data := newTestStore(t)
		f := &fallback{store: store, engine: engine, log: slog.New(slog.DiscardHandler),
			fetch: func(ctx context.Context, piece int) ([]byte, error) {
				if err := fetch(ctx, piece); err != nil {
					return nil, err
				}
				return swarmtest.Piece(data, store.Pieces(), piece), nil
			}}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { f.run(ctx) })
		if meanwhile != nil {
			wg.Go(func() { meanwhile(store, data) })
		}
		begun := time.Now()
		if err := store.Wait(ctx, 3, 3); err != nil {
			t.Error(err)
		}
		took = time.Since(begun)
		synctest.Wait()
		cancel()
		wg.Wait()
	})
	return took
}

func atOnce(context.Context, int) error { return nil }

func TestTheServerIsAskedWhenTheSwarmIsLate(t *testing.T) {
	for _, c := range []struct {
		swarm, moves bool
		want         time.Duration
	}{{true, false, patience}, {true, true, lastPatience}, {false, false, shortPatience}, {false, true, shortPatience}} {
		engine := &fakeEngine{swarm: c.swarm, moves: c.moves}
		if took := inBubble(t, engine, atOnce, nil); took != c.want {
			t.Errorf("with a swarm %v that moves %v the read took %v; want %v", c.swarm, c.moves, took, c.want)
		}
		if want := [][]int{{3}, {}}; !slices.EqualFunc(engine.demands, want, slices.Equal) {
			t.Errorf("demands = %v; want %v", engine.demands, want)
		}
		if !slices.Equal(engine.haves, []int{3}) {
			t.Errorf("the engine heard of %v; want piece 3", engine.haves)
		}
		// Where there is a swarm the two race; else what fetches is one of them.
		if left := slices.Equal(engine.leaves, []string{"leaves 3", "takes 3"}); left == c.swarm {
			t.Errorf("with a swarm %v the engine was to leave %v", c.swarm, engine.leaves)
		}
	}
}

func TestTheServerIsNotAskedWhenTheSwarmIsQuick(t *testing.T) {
	fetches := 0
	took := inBubble(t, &fakeEngine{swarm: true},
		func(context.Context, int) error { fetches++; return nil },
		func(store *piecestore.Store, data []byte) {
			time.Sleep(patience - time.Millisecond)
			store.Put(3, swarmtest.Piece(data, store.Pieces(), 3))
		})
	if fetches != 0 || took != patience-time.Millisecond {
		t.Errorf("%d fetches, read took %v; want none", fetches, took)
	}
}

func TestAFetchIsGivenUpWhenTheSwarmBringsThePiece(t *testing.T) {
	var ended error
	inBubble(t, &fakeEngine{swarm: true},
		func(ctx context.Context, _ int) error { <-ctx.Done(); ended = ctx.Err(); return ended },
		func(store *piecestore.Store, data []byte) {
			time.Sleep(patience + time.Second)
			store.Put(3, swarmtest.Piece(data, store.Pieces(), 3))
		})
	if !errors.Is(ended, context.Canceled) {
		t.Errorf("the fetch ended with %v; want it canceled", ended)
	}
}

// TestFetchesAreTriedForEver: an outage of an hour, asked every few seconds.
func TestFetchesAreTriedForEver(t *testing.T) {
	fetches := 0
	var begun time.Time
	took := inBubble(t, &fakeEngine{}, func(context.Context, int) error {
		if fetches++; fetches == 1 {
			begun = time.Now()
		}
		if time.Since(begun) < time.Hour {
			return errors.New("no route to host")
		}
		return nil
	}, nil)
	if took < time.Hour || took > time.Hour+2*lastBackoff {
		t.Errorf("the read took %v; want little more than the outage", took)
	}
	if want := int(time.Hour / lastBackoff); fetches < want || fetches > want+10 {
		t.Errorf("%d fetches in an hour; want about %d", fetches, want)
	}
}

func TestOverdue(t *testing.T) {
	now := time.Now()
	wants := []piecestore.Want{{Piece: 9, Since: now.Add(-2 * patience)}, {Piece: 4, Since: now.Add(-patience)}, {Piece: 1, Since: now.Add(100*time.Millisecond - patience)}}
	none := func(int) bool { return false }
	for name, c := range map[string]struct {
		wants     []piecestore.Want
		notBefore time.Time
		fetching  func(int) bool
		start     []int
		again     time.Duration
	}{
		"oldest first":     {wants, time.Time{}, none, []int{9, 4}, 100 * time.Millisecond},
		"one under way":    {wants, time.Time{}, func(i int) bool { return i == 9 }, []int{4}, 100 * time.Millisecond},
		"after a failure":  {wants, now.Add(time.Millisecond), none, nil, time.Millisecond},
		"nothing to fetch": {nil, time.Time{}, none, nil, time.Hour},
	} {
		start, again := overdue(c.wants, now, func(since time.Time) time.Time { return since.Add(patience) }, c.notBefore, c.fetching)
		if !slices.Equal(start, c.start) || again != c.again {
			t.Errorf("%s: overdue = %v, %v; want %v, %v", name, start, again, c.start, c.again)
		}
	}
}

// TestFetchOverHTTP: right ranges, and nothing but a range.
func TestFetchOverHTTP(t *testing.T) {
	store, data := newTestStore(t)
	whole := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if whole {
			r.Header.Del("Range")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer srv.Close()
	f := newFetcher(srv.URL, store.Pieces())
	defer f.client.CloseIdleConnections()
	for i := range store.Pieces().Count() {
		got, err := f.fetch(t.Context(), i)
		if err != nil || store.Put(i, got) != nil {
			t.Errorf("fetch(%d) = %d bytes, %v; want the piece", i, len(got), err)
		}
	}
	whole = true
	if _, err := f.fetch(t.Context(), 0); err == nil {
		t.Error("fetch took a whole file for a piece")
	}
	srv.Close()
	if _, err := f.fetch(t.Context(), 0); err == nil {
		t.Error("fetch from a closed server = nil")
	}
}

// TestWrongBytesFromTheServer are refused, counted, and asked for again.
func TestWrongBytesFromTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, data := newTestStore(t)
		fetches := 0
		f := &fallback{store: store, engine: &fakeEngine{}, log: slog.New(slog.DiscardHandler),
			fetch: func(_ context.Context, piece int) ([]byte, error) {
				if fetches++; fetches < 3 {
					piece++
				}
				return swarmtest.Piece(data, store.Pieces(), piece), nil
			}}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { f.run(ctx) })
		if err := store.Wait(ctx, 5, 5); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got, want := f.stats(), (fetchStats{bytes: images.MinPieceLength, rejected: 2}); got != want {
			t.Errorf("stats = %+v; want %+v", fmt.Sprint(got), fmt.Sprint(want))
		}
		cancel()
		wg.Wait()
	})
}
