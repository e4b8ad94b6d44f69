package enginelink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm"
	"swarmboot/peerd/swarm/swarmtest"
)

// keeper is a root server's store and what it hears.
type keeper struct {
	*piecestore.Store
	stats chan swarm.Stats
	left  chan []int
}

func (k keeper) Left(pieces []int)                         { k.left <- pieces }
func (k keeper) Stats(s swarm.Stats, _ []swarm.Connection) { k.stats <- s }

// session writes down its orders.
type session struct{ orders chan string }

func (s session) Have(piece int) { s.orders <- fmt.Sprint("have ", piece) }
func (s session) Elsewhere(pieces []int, left func([]int)) {
	s.orders <- fmt.Sprint("elsewhere ", pieces)
	left(pieces[1:])
}
func (s session) Demand(pieces []int)  { s.orders <- fmt.Sprint("demand ", pieces) }
func (s session) SetPace(p swarm.Pace) { s.orders <- fmt.Sprint("pace ", p) }

// link runs both ends of a link until the test ends.
func link(t *testing.T, pieces images.Pieces) (*Root, keeper, *Engine, session) {
	t.Helper()
	store, err := piecestore.Create(filepath.Join(t.TempDir(), "root"), pieces)
	if err != nil {
		t.Fatal(err)
	}
	k := keeper{store, make(chan swarm.Stats, 1), make(chan []int, 1)}
	s := session{make(chan string, 100)}
	ours, theirs := net.Pipe()
	root := NewRoot(ours)

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { root.Run(ctx, Hello{Pieces: pieces, Torrent: []byte("torrent"), Have: store.Have()}, k) })
	engine, hello, err := Open(theirs, store.File())
	if err != nil || !bytes.Equal(hello.Pieces.SHA256, pieces.SHA256) || string(hello.Torrent) != "torrent" {
		t.Fatalf("Open = %+v, %v", hello, err)
	}
	wg.Go(func() {
		if err := engine.Run(ctx, s); err != nil {
			t.Errorf("Engine.Run = %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		store.Close()
	})
	return root, k, engine, s
}

func TestEngineIsASwarmStore(t *testing.T) {
	swarmtest.Run(t, func(t *testing.T, _ []byte, pieces images.Pieces) swarm.Store {
		_, _, engine, _ := link(t, pieces)
		return engine
	})
}

func TestOrdersAndStatsArrive(t *testing.T) {
	data, pieces := swarmtest.Image(5*images.MinPieceLength, images.MinPieceLength)
	root, k, engine, s := link(t, pieces)
	root.Demand([]int{3, 1})
	expect(t, s.orders, "demand [3 1]")
	root.SetPace(swarm.Full)
	expect(t, s.orders, "pace 1")
	root.Elsewhere([]int{2, 3})
	expect(t, s.orders, "elsewhere [2 3]")
	if got := <-k.left; !slices.Equal(got, []int{3}) {
		t.Errorf("the engine leaves %v; want piece 3", got)
	}
	if err := k.Put(4, swarmtest.Piece(data, pieces, 4)); err != nil {
		t.Fatal(err)
	}
	root.Have(4)
	expect(t, s.orders, "have 4")
	if !engine.Has(4) {
		t.Error("the engine does not know a piece that came by another way")
	}
	want := swarm.Stats{Peers: 3, FromPeers: 1 << 40, FromFar: 1 << 30, Uploaded: 5, Rejected: 1}
	if err := engine.SendStats(want, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-k.stats; got != want {
		t.Errorf("statistics arrived as %+v; want %+v", got, want)
	}
}

func expect(t *testing.T, orders <-chan string, want string) {
	t.Helper()
	if got := <-orders; got != want {
		t.Errorf("order %q; want %q", got, want)
	}
}

// TestNewestDemandIsKept: an engine that does not listen gets only what counts
// when it does, and the root server has not waited.
func TestNewestDemandIsKept(t *testing.T) {
	m := newMailbox()
	for i := range 1000 {
		m.Demand([]int{i})
	}
	m.Have(7)
	m.Have(8)
	m.Elsewhere([]int{5})
	ctx, cancel := context.WithCancel(t.Context())
	s := session{make(chan string, 100)}
	err := m.handOn(ctx, func(o orders) error { o.give(s, func([]int) {}); cancel(); return nil })
	close(s.orders)
	got := slices.Collect(func(yield func(string) bool) {
		for order := range s.orders {
			yield(order)
		}
	})
	if want := []string{"have 7", "have 8", "elsewhere [5]", "demand [999]"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("handed on %v, %v; want %v", got, err, want)
	}
}

// TestEngineKilledInAMessage: half a piece changes nothing.
func TestEngineKilledInAMessage(t *testing.T) {
	data, pieces := swarmtest.Image(3*images.MinPieceLength, images.MinPieceLength)
	store, err := piecestore.Create(filepath.Join(t.TempDir(), "root"), pieces)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var whole bytes.Buffer
	if err := writeFrame(&whole, pieceKind, encodeNumbers(1), swarmtest.Piece(data, pieces, 1)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, headerLength, headerLength + 4, whole.Len() / 2, whole.Len() - 1} {
		ours, theirs := net.Pipe()
		ended := make(chan error)
		go func() {
			ended <- NewRoot(ours).Run(t.Context(), Hello{Pieces: pieces, Have: store.Have()}, keeper{Store: store})
		}()
		if _, _, err := Open(theirs, store.File()); err != nil {
			t.Fatal(err)
		}
		theirs.Write(whole.Bytes()[:n])
		theirs.Close()
		if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes of a message Run = %v; want an unexpected end", n, err)
		}
		if store.Has(1) {
			t.Errorf("piece 1 is there after %d bytes of its message", n)
		}
	}
}

// TestPutEndsWithTheLink: a piece that is never answered does not hold the
// engine.
func TestPutEndsWithTheLink(t *testing.T) {
	data, pieces := swarmtest.Image(3*images.MinPieceLength, images.MinPieceLength)
	ours, theirs := net.Pipe()
	engine := &Engine{conn: theirs, pieces: pieces, have: make([]bool, 3), orders: newMailbox()}
	put := make(chan error)
	go func() { put <- engine.Put(1, swarmtest.Piece(data, pieces, 1)) }()
	run := make(chan error)
	go func() { run <- engine.Run(t.Context(), session{}) }()
	if _, _, err := readFrame(ours, nil); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	if err := <-put; err == nil || engine.Has(1) {
		t.Errorf("Put = %v, Has = %v; want an error and no piece", err, engine.Has(1))
	}
	if err := <-run; err != nil {
		t.Errorf("Run = %v; want nil at the end of the link", err)
	}
	if err := engine.Put(2, swarmtest.Piece(data, pieces, 2)); err == nil {
		t.Error("Put after the end of the link = nil")
	}
}

// TestSilentEngineIsGivenUp in real use takes half a minute; here the deadline
// is moved by the connection.
func TestSilentEngineIsGivenUp(t *testing.T) {
	_, pieces := swarmtest.Image(3*images.MinPieceLength, images.MinPieceLength)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	err := NewRoot(hasty{ours}).Run(t.Context(), Hello{Pieces: pieces, Have: make([]bool, 3)}, nil)
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Errorf("Run = %v; want a time-out", err)
	}
}

// hasty has deadlines that pass at once.
type hasty struct{ net.Conn }

func (h hasty) SetReadDeadline(t time.Time) error  { return h.Conn.SetReadDeadline(time.Now()) }
func (h hasty) SetWriteDeadline(t time.Time) error { return h.Conn.SetWriteDeadline(time.Now()) }

func FuzzMessages(f *testing.F) {
	_, pieces := swarmtest.Image(3*images.MinPieceLength, images.MinPieceLength)
	for k, body := range map[kind][]byte{
		helloKind:     []byte(`{"Pieces":{"size":5,"length":16384},"Have":[true]}`),
		demandKind:    encodeNumbers(0, 2),
		elsewhereKind: encodeNumbers(2),
		haveKind:      encodeNumbers(1),
		paceKind:      encodeNumbers(1),
		answerKind:    encodeNumbers(1, bad),
		pieceKind:     append(encodeNumbers(1), "bytes"...),
		statsKind:     []byte(`{"Peers":1}`),
	} {
		var seed bytes.Buffer
		writeFrame(&seed, k, body)
		f.Add(seed.Bytes())
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		engine := &Engine{pieces: pieces, have: make([]bool, 3), orders: newMailbox()}
		r := bytes.NewReader(stream)
		for {
			k, body, err := readFrame(r, nil)
			if err != nil {
				return
			}
			if len(body) > len(stream) {
				t.Fatalf("a body of %d bytes from a stream of %d", len(body), len(stream))
			}
			engine.obey(k, body)
			decodeHello(k, body)
			decodePiece(body, pieces.Count())
		}
	})
}
