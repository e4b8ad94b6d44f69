package enginelink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/swarm"
)

// silence is how long the engine may say nothing, or not listen, before it is
// given up. It speaks every second; a machine that is out of memory for a while
// must not lose it.
const silence = 30 * time.Second

// Root is the root server's end of the link. Its Orders never wait: they are
// sent when the engine listens.
type Root struct {
	*mailbox
	conn net.Conn

	writing sync.Mutex // held while a message is sent
}

// NewRoot returns the root server's end on conn. Orders may be given at once.
func NewRoot(conn net.Conn) *Root { return &Root{mailbox: newMailbox(), conn: conn} }

// Keeper takes what the engine sends.
type Keeper interface {
	Put(piece int, data []byte) error // verifies; images.ErrBadPiece
	Left(pieces []int)                // not fetched, as Elsewhere asked
	Stats(swarm.Stats, []swarm.Connection)
}

// Run sends hello, then orders, and gives what comes in to keeper, until ctx is
// done or the link fails; io.EOF means that the engine has ended. It closes the
// connection.
func (r *Root) Run(ctx context.Context, hello Hello, keeper Keeper) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { r.conn.Close() })
	defer stop()

	var wg sync.WaitGroup
	wg.Go(func() { cancel(r.talk(ctx, hello)) })
	wg.Go(func() { cancel(r.listen(hello.Pieces.Count(), keeper)) })
	wg.Wait()
	return context.Cause(ctx)
}

// talk sends the hello and then the orders.
func (r *Root) talk(ctx context.Context, hello Hello) error {
	body, err := json.Marshal(hello)
	if err != nil {
		return fmt.Errorf("greet the engine: %w", err)
	}
	if err := r.send(helloKind, body); err != nil {
		return fmt.Errorf("greet the engine: %w", err)
	}
	return r.handOn(ctx, r.order)
}

// order sends the new orders. A piece is known to be here before it is no longer
// said to come, and to come before it is demanded, so that the engine is at no
// moment led to fetch it.
func (r *Root) order(o orders) error {
	var errs []error
	if o.have != nil {
		errs = append(errs, r.send(haveKind, encodeNumbers(o.have...)))
	}
	if o.elsewhere != nil {
		errs = append(errs, r.send(elsewhereKind, encodeNumbers(*o.elsewhere...)))
	}
	if o.demand != nil {
		errs = append(errs, r.send(demandKind, encodeNumbers(*o.demand...)))
	}
	if o.pace != nil {
		errs = append(errs, r.send(paceKind, encodeNumbers(int(*o.pace))))
	}
	return errors.Join(errs...)
}

// listen receives what the engine sends.
func (r *Root) listen(count int, keeper Keeper) error {
	var buf []byte
	for {
		if err := r.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return fmt.Errorf("listen to the engine: %w", err)
		}
		k, body, err := readFrame(r.conn, buf)
		if err == io.EOF {
			return err
		}
		if err != nil {
			return fmt.Errorf("listen to the engine: %w", err)
		}
		buf = body[:0]
		switch k {
		case pieceKind:
			err = r.receive(body, count, keeper)
		case leftKind:
			var pieces []int
			if pieces, err = decodeNumbers(body, count); err == nil {
				keeper.Left(pieces)
			}
		case statsKind:
			var n news
			if err = json.Unmarshal(body, &n); err == nil {
				keeper.Stats(n.Stats, n.Connections)
			}
		default:
			err = errors.New("not a message that an engine sends")
		}
		if err != nil {
			return fmt.Errorf("message %q from the engine: %w", k, err)
		}
	}
}

// receive stores one piece and answers it.
func (r *Root) receive(body []byte, count int, keeper Keeper) error {
	piece, data, err := decodePiece(body, count)
	if err != nil {
		return err
	}
	answer := stored
	switch err := keeper.Put(piece, data); {
	case errors.Is(err, images.ErrBadPiece):
		answer = bad
	case err != nil:
		answer = notStored
	}
	return r.send(answerKind, encodeNumbers(piece, answer))
}

func (r *Root) send(k kind, body []byte) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.conn.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	return writeFrame(r.conn, k, body)
}
