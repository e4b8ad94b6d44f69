package enginelink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"swarmboot/images"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm"
)

// errEnded answers pieces that were on their way when the link ended.
var errEnded = errors.New("the link to the root server has ended")

// Engine is the swarm engine's end of the link. It is a swarm.Store that reads
// the image file directly and stores by sending to the root server.
type Engine struct {
	conn   net.Conn
	image  *os.File // read-only
	pieces images.Pieces
	orders *mailbox

	writing sync.Mutex // held while a message is sent

	mu       sync.Mutex
	have     []bool    // guarded by mu, like all below
	unknown  []pending // pieces sent and not yet answered, in order
	finished bool      // the link has ended
}

// pending is a piece that waits for its answer.
type pending struct {
	piece  int
	answer chan<- error
}

// Open receives the hello on conn. image is the image file, open for reading.
func Open(conn net.Conn, image *os.File) (*Engine, Hello, error) {
	k, body, err := readFrame(conn, nil)
	if err != nil {
		return nil, Hello{}, fmt.Errorf("wait for the root server's hello: %w", err)
	}
	hello, err := decodeHello(k, body)
	if err != nil {
		return nil, Hello{}, fmt.Errorf("hello from the root server: %w", err)
	}
	return &Engine{conn: conn, image: image, pieces: hello.Pieces, have: hello.Have, orders: newMailbox()}, hello, nil
}

func decodeHello(k kind, body []byte) (Hello, error) {
	var hello Hello
	if k != helloKind {
		return hello, fmt.Errorf("message %q; want %q", k, helloKind)
	}
	if err := json.Unmarshal(body, &hello); err != nil {
		return hello, err
	}
	if hello.Pieces.Length <= 0 || len(hello.Have) != hello.Pieces.Count() {
		return hello, fmt.Errorf("a map of %d pieces does not fit %d bytes in pieces of %d", len(hello.Have), hello.Pieces.Size, hello.Pieces.Length)
	}
	return hello, nil
}

// Run passes the root server's orders to session until ctx is done or the link
// ends; an ended link is not an error, the root server closes it at will. It
// closes the connection.
func (e *Engine) Run(ctx context.Context, session Orders) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { e.conn.Close() })
	defer stop()

	var wg sync.WaitGroup
	wg.Go(func() {
		err := e.listen()
		e.abandon()
		cancel(err)
	})
	wg.Go(func() {
		e.orders.handOn(ctx, func(o orders) error { o.give(session, e.left); return nil })
	})
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// give passes the orders on, in the order in which the root server sends them.
func (o orders) give(session Orders, left func([]int)) {
	for _, piece := range o.have {
		session.Have(piece)
	}
	if o.elsewhere != nil {
		session.Elsewhere(*o.elsewhere, left)
	}
	if o.demand != nil {
		session.Demand(*o.demand)
	}
	if o.pace != nil {
		session.SetPace(*o.pace)
	}
}

// listen receives orders and answers. It never waits for anything but the next
// message, so that answers always come through.
func (e *Engine) listen() error {
	var buf []byte
	for {
		k, body, err := readFrame(e.conn, buf)
		if err == io.EOF {
			return err
		}
		if err != nil {
			return fmt.Errorf("listen to the root server: %w", err)
		}
		buf = body[:0]
		if err := e.obey(k, body); err != nil {
			return fmt.Errorf("message %q from the root server: %w", k, err)
		}
	}
}

func (e *Engine) obey(k kind, body []byte) error {
	switch k {
	case demandKind, elsewhereKind:
		pieces, err := decodeNumbers(body, e.pieces.Count())
		if err != nil {
			return err
		}
		if k == demandKind {
			e.orders.Demand(pieces)
		} else {
			e.orders.Elsewhere(pieces)
		}
	case haveKind:
		pieces, err := decodeNumbers(body, e.pieces.Count())
		if err != nil {
			return err
		}
		for _, piece := range pieces {
			e.mark(piece)
			e.orders.Have(piece)
		}
	case paceKind:
		pace, err := decodeNumbers(body, int(swarm.Full)+1)
		if err != nil {
			return err
		}
		if len(pace) != 1 {
			return fmt.Errorf("%d numbers; want one", len(pace))
		}
		e.orders.SetPace(swarm.Pace(pace[0]))
	case answerKind:
		piece, answer, err := decodeAnswer(body, e.pieces.Count())
		if err != nil {
			return err
		}
		return e.answered(piece, answer)
	default:
		return errors.New("not a message that a root server sends")
	}
	return nil
}

func decodeAnswer(body []byte, count int) (piece, answer int, err error) {
	numbers, err := decodeNumbers(body, max(count, answerCount))
	if err != nil {
		return 0, 0, err
	}
	if len(numbers) != 2 || numbers[0] >= count || numbers[1] >= answerCount {
		return 0, 0, fmt.Errorf("%v is no answer", numbers)
	}
	return numbers[0], numbers[1], nil
}

// answered wakes the Put whose piece the root server has answered.
func (e *Engine) answered(piece, answer int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.unknown) == 0 || e.unknown[0].piece != piece {
		return fmt.Errorf("an answer to piece %d, which was not asked", piece)
	}
	put := e.unknown[0]
	e.unknown = e.unknown[1:]
	switch answer {
	case stored:
		e.have[piece] = true
		put.answer <- nil
	case bad:
		put.answer <- fmt.Errorf("piece %d: %w", piece, images.ErrBadPiece)
	default:
		put.answer <- fmt.Errorf("piece %d: the root server could not store it", piece)
	}
	return nil
}

// abandon ends all Puts under way, and those to come.
func (e *Engine) abandon() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finished = true
	for _, put := range e.unknown {
		put.answer <- errEnded
	}
	e.unknown = nil
}

// Has tells whether a piece is in the image file.
func (e *Engine) Has(piece int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return piece >= 0 && piece < len(e.have) && e.have[piece]
}

func (e *Engine) mark(piece int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.have[piece] = true
}

// ReadAt reads verified bytes of the image; others are piecestore.ErrMissing.
func (e *Engine) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > 0 && off >= 0 && off < e.pieces.Size {
		first, last := e.pieces.Spanned(off, int(min(int64(len(p)), e.pieces.Size-off)))
		for i := first; i <= last; i++ {
			if !e.Has(i) {
				return 0, fmt.Errorf("read piece %d: %w", i, piecestore.ErrMissing)
			}
		}
	}
	return e.image.ReadAt(p, off)
}

// Put sends a whole piece to the root server and returns when that has answered.
func (e *Engine) Put(piece int, data []byte) error {
	if piece < 0 || piece >= e.pieces.Count() || len(data) != e.pieces.Len(piece) {
		return fmt.Errorf("piece %d of %d bytes: %w", piece, len(data), images.ErrBadPiece)
	}
	answer := make(chan error, 1)
	if err := e.sendPiece(pending{piece, answer}, data); err != nil {
		return fmt.Errorf("send piece %d to the root server: %w", piece, err)
	}
	return <-answer
}

// sendPiece queues for the answer in the order in which pieces are sent.
func (e *Engine) sendPiece(put pending, data []byte) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	finished := e.finished
	if !finished {
		e.unknown = append(e.unknown, put)
	}
	e.mu.Unlock()
	if finished {
		return errEnded
	}
	return writeFrame(e.conn, pieceKind, encodeNumbers(put.piece), data)
}

// left tells the root server which pieces the session leaves to another way. If
// that fails the link has ended, which Run tells.
func (e *Engine) left(pieces []int) {
	e.writing.Lock()
	defer e.writing.Unlock()
	writeFrame(e.conn, leftKind, encodeNumbers(pieces...))
}

// SendStats tells the root server what the session has done so far, and with whom
// it is connected.
func (e *Engine) SendStats(stats swarm.Stats, connections []swarm.Connection) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	body, err := json.Marshal(news{stats, connections})
	if err == nil {
		err = writeFrame(e.conn, statsKind, body)
	}
	if err != nil {
		return fmt.Errorf("send statistics to the root server: %w", err)
	}
	return nil
}
