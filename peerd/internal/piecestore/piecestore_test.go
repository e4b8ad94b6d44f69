package piecestore_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm"
	"swarmboot/peerd/swarm/swarmtest"
)

func create(t *testing.T, pieces images.Pieces) *piecestore.Store {
	t.Helper()
	store, err := piecestore.Create(filepath.Join(t.TempDir(), "root"), pieces)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func image() ([]byte, images.Pieces) {
	return swarmtest.Image(8*images.MinPieceLength-100, images.MinPieceLength)
}

func TestIsASwarmStore(t *testing.T) {
	swarmtest.Run(t, func(t *testing.T, _ []byte, pieces images.Pieces) swarm.Store { return create(t, pieces) })
}

func TestWaitEndsWithTheLastPieceItNeeds(t *testing.T) {
	data, pieces := image()
	store := create(t, pieces)
	synctest.Test(t, func(t *testing.T) {
		done := make(chan error, 1)
		go func() { done <- store.Wait(context.Background(), 1, 3) }()
		for _, piece := range []int{2, 0, 3} {
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("Wait(1, 3) = %v before piece 1 came", err)
			default:
			}
			put(t, store, piece, data)
		}
		put(t, store, 1, data)
		if err := <-done; err != nil {
			t.Errorf("Wait(1, 3) = %v", err)
		}
	})
}

func put(t *testing.T, store *piecestore.Store, piece int, data []byte) {
	t.Helper()
	if err := store.Put(piece, swarmtest.Piece(data, store.Pieces(), piece)); err != nil {
		t.Fatal(err)
	}
}

func TestWantedListsTheLongestWaitFirst(t *testing.T) {
	data, pieces := image()
	store := create(t, pieces)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wait := func(ctx context.Context, first, last int) {
			wg.Go(func() { store.Wait(ctx, first, last) })
			synctest.Wait()
			time.Sleep(time.Second)
		}
		wait(ctx, 5, 5)
		wait(context.Background(), 2, 3)
		wait(context.Background(), 3, 3)
		if got := wanted(store); !slices.Equal(got, []int{5, 2, 3}) {
			t.Errorf("Wanted = %v; want 5 2 3", got)
		}
		put(t, store, 2, data)
		cancel()
		synctest.Wait()
		if got := wanted(store); !slices.Equal(got, []int{3}) {
			t.Errorf("Wanted = %v after 2 came and nobody waits for 5; want 3", got)
		}
		if store.Idle() != 0 {
			t.Errorf("Idle = %v while a read waits; want 0", store.Idle())
		}
		put(t, store, 3, data)
		time.Sleep(time.Minute)
		if got := wanted(store); len(got) != 0 || store.Idle() != time.Minute {
			t.Errorf("Wanted = %v, Idle = %v; want nothing and a minute", got, store.Idle())
		}
		wg.Wait()
	})
}

func TestAReadThatGivesUpLeavesOthersWaiting(t *testing.T) {
	_, pieces := image()
	store := create(t, pieces)
	synctest.Test(t, func(t *testing.T) {
		short, cancelShort := context.WithCancel(context.Background())
		long, cancelLong := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { store.Wait(long, 4, 4) })
		var err error
		wg.Go(func() { err = store.Wait(short, 4, 5) })
		synctest.Wait()
		cancelShort()
		synctest.Wait()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Wait = %v; want context.Canceled", err)
		}
		if got := wanted(store); !slices.Equal(got, []int{4}) {
			t.Errorf("Wanted = %v; want 4", got)
		}
		cancelLong()
		wg.Wait()
	})
}

func wanted(store *piecestore.Store) (pieces []int) {
	for _, w := range store.Wanted() {
		pieces = append(pieces, w.Piece)
	}
	return pieces
}

func TestReadLogHasFirstTouchesOnly(t *testing.T) {
	data, pieces := image()
	store := create(t, pieces)
	for i := range pieces.Count() {
		put(t, store, i, data)
	}
	for _, span := range [][2]int{{3, 4}, {0, 0}, {4, 5}, {3, 3}} {
		if err := store.Wait(t.Context(), span[0], span[1]); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for _, touch := range store.Touched() {
		got = append(got, touch.Piece)
	}
	if !slices.Equal(got, []int{3, 4, 0, 5}) {
		t.Errorf("Touched = %v; want 3 4 0 5", got)
	}
}

func TestCompleteFileIsTheImage(t *testing.T) {
	data, pieces := image()
	path := filepath.Join(t.TempDir(), "root")
	store, err := piecestore.Create(path, pieces)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for i := range pieces.Count() {
		select {
		case <-store.Complete():
			t.Fatalf("complete with %d of %d pieces", i, pieces.Count())
		default:
		}
		put(t, store, i, data)
	}
	<-store.Complete()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file is not the image (%v)", err)
	}
	put(t, store, 2, data) // again, and late
	if c := store.Counts(); c.Have != pieces.Count() || c.Duplicates != int64(pieces.Len(2)) {
		t.Errorf("Counts = %+v; want all pieces, and one a duplicate", c)
	}
}

func TestWrongBytesNeverReachTheFile(t *testing.T) {
	data, pieces := image()
	store := create(t, pieces)
	wrong := bytes.Clone(swarmtest.Piece(data, pieces, 1))
	wrong[7] ^= 1
	if err := store.Put(1, wrong); !errors.Is(err, images.ErrBadPiece) {
		t.Errorf("Put of wrong bytes = %v; want ErrBadPiece", err)
	}
	got := make([]byte, len(data))
	if _, err := store.File().ReadAt(got, 0); err != nil || !bytes.Equal(got, make([]byte, len(data))) {
		t.Errorf("the file has bytes of a piece that was refused (%v)", err)
	}
}

func TestTooLittleMemoryIsToldWithBothSizes(t *testing.T) {
	err := piecestore.MountMemory(t.TempDir(), math.MaxInt64/2)
	if err == nil || !strings.Contains(err.Error(), "4398046511104 MiB") || !strings.Contains(err.Error(), "are free") {
		t.Errorf("MountMemory = %v; want the size of the image and of the free memory", err)
	}
}
