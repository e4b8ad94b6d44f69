package swarm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"swarmboot/peerd/swarm/schedule"
)

// Messages of the peer wire protocol (BEP 3, BEP 6) that a conn looks at.
const (
	msgHave     = 4
	msgBitfield = 5
	msgPiece    = 7
	msgHaveAll  = 14
	msgHaveNone = 15
)

// handshakeLen is the length of the handshake: the protocol's name, extension
// bits, infohash (from infohashAt) and peer id.
const (
	handshakeLen = 68
	infohashAt   = 28
)

// queueBytes is how much a peer is asked for at once: when less than this is
// outstanding, one more piece is revealed. With pieces of 256 KiB that is one to
// two pieces, the measured best; deeper queues commit to a peer before rarity
// shows. The library doubles its queue from one block whenever a queue ran
// empty, so it must not.
const queueBytes = 256 << 10

// A conn is a peer's connection as the library shall see it: a peer that has no
// piece but those which it shall be asked for.
//
// What the peer says about its pieces goes to the session instead of the
// library. When the session wants a piece from this peer it calls reveal, and
// the library reads a HAVE message that the peer never sent. All else passes
// unchanged. So the library asks exactly one peer for a piece, whatever its own
// strategy is.
type conn struct {
	net.Conn
	address netip.Addr                       // of the peer
	find    func(infohash [20]byte) *Session // nil for a swarm we aren't in
	buf     *bufio.Reader

	// Only the goroutine that reads uses these.
	hello    []byte // the handshake as far as it was read
	session  *Session
	passing  int  // bytes of the current message that the library still gets
	boundary bool // the read under way may be interrupted by reveal

	mu          sync.Mutex
	joined      bool        // guarded by mu: the handshake is over
	closed      bool        // guarded by mu
	revealed    []byte      // guarded by mu: HAVE messages that the library hasn't read yet
	owed        map[int]int // guarded by mu: bytes still to come, by piece
	outstanding int         // guarded by mu: their sum
	heard       time.Time   // guarded by mu: when bytes of a piece last came

	// Only the session's goroutine uses these.
	id     schedule.Peer
	seeder bool
	peer   libraryPeer // nil until the library has adopted the connection
}

// newConn wraps a connection that has said nothing yet.
func newConn(c net.Conn, find func([20]byte) *Session) *conn {
	w := &conn{Conn: c, address: address(c.RemoteAddr().String()), find: find, owed: make(map[int]int)}
	w.buf = bufio.NewReaderSize(patient{w}, 32<<10)
	return w
}

// Read gives the library the next bytes that it shall see.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.hello) < handshakeLen {
		return c.readHello(b)
	}
	if c.session == nil {
		return c.buf.Read(b)
	}
	for c.passing == 0 {
		if n := c.takeRevealed(b); n > 0 {
			return n, nil
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.buf.Read(b[:min(len(b), c.passing)])
	c.passing -= n
	return n, err
}

// readHello passes the handshake on and joins the session that it names.
func (c *conn) readHello(b []byte) (int, error) {
	n, err := c.buf.Read(b[:min(len(b), handshakeLen-len(c.hello))])
	c.hello = append(c.hello, b[:n]...)
	if len(c.hello) == handshakeLen {
		c.session = c.find([20]byte(c.hello[infohashAt:]))
		if c.session != nil {
			c.mu.Lock()
			c.joined = true
			c.Conn.SetReadDeadline(time.Time{})
			c.mu.Unlock()
			c.session.post(func() { c.session.joined(c) })
		}
	}
	return n, err
}

// next looks at the message that comes now. It returns with passing set if the
// library shall read it, or with it consumed, or interrupted by reveal.
func (c *conn) next() error {
	c.boundary = true
	head, err := c.buf.Peek(4)
	c.boundary = false
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	length := int(binary.BigEndian.Uint32(head))
	if length == 0 { // keep-alive
		c.passing = 4
		return nil
	}
	if head, err = c.buf.Peek(5); err != nil {
		return err
	}
	switch head[4] {
	case msgHave, msgBitfield, msgHaveAll, msgHaveNone:
		return c.readPieces(length)
	case msgPiece:
		if length < 9 {
			return fmt.Errorf("message of a block has %d bytes", length)
		}
		if head, err = c.buf.Peek(9); err != nil {
			return err
		}
		c.received(int(binary.BigEndian.Uint32(head[5:])), length-9)
	}
	c.passing = 4 + length
	return nil
}

// readPieces takes a message about the peer's pieces to the session.
func (c *conn) readPieces(length int) error {
	count := c.session.cfg.Pieces.Count()
	if length > 1+max(4, (count+7)/8) {
		return fmt.Errorf("message about the pieces has %d bytes; there are %d pieces", length, count)
	}
	message := make([]byte, 4+length)
	if _, err := io.ReadFull(c.buf, message); err != nil {
		return err
	}
	id, body := message[4], message[5:]
	var has []int
	switch {
	case id == msgHave && len(body) == 4:
		has = []int{int(binary.BigEndian.Uint32(body))}
	case id == msgBitfield && len(body) == (count+7)/8:
		for i := range count {
			if body[i/8]&(0x80>>(i%8)) != 0 {
				has = append(has, i)
			}
		}
	case id == msgHaveAll && len(body) == 0:
		for i := range count {
			has = append(has, i)
		}
	case id == msgHaveNone && len(body) == 0:
	default:
		return fmt.Errorf("message %d about the pieces has %d bytes; there are %d pieces", id, length, count)
	}
	c.session.post(func() { c.session.offered(c, has) })
	return nil
}

// reveal lets the library ask the peer for a piece of so many bytes.
func (c *conn) reveal(piece, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outstanding == 0 {
		c.heard = time.Now()
	}
	if _, twice := c.owed[piece]; !twice {
		c.owed[piece] = size
		c.outstanding += size
	}
	c.revealed = binary.BigEndian.AppendUint32(c.revealed, 5)
	c.revealed = append(c.revealed, msgHave)
	c.revealed = binary.BigEndian.AppendUint32(c.revealed, uint32(piece))
	c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes a Read that waits for the peer
}

// takeRevealed reads from what reveal has left.
func (c *conn) takeRevealed(b []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(b, c.revealed)
	c.revealed = c.revealed[n:]
	c.Conn.SetReadDeadline(time.Time{})
	return n
}

// received notes that bytes of a piece came, and asks for more when the queue
// runs low.
func (c *conn) received(piece, n int) {
	c.mu.Lock()
	n = min(n, c.owed[piece])
	low := c.outstanding >= queueBytes && c.outstanding-n < queueBytes
	c.outstanding -= n
	if c.owed[piece] -= n; c.owed[piece] == 0 {
		delete(c.owed, piece)
	}
	c.heard = time.Now()
	c.mu.Unlock()
	if n > 0 {
		c.session.buffers.gives(piece, c.address)
	}
	if low {
		c.session.post(func() {})
	}
}

// forget notes that a piece needn't come any more.
func (c *conn) forget(piece int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outstanding -= c.owed[piece]
	delete(c.owed, piece)
}

// ready tells whether the peer's queue has room for one more piece.
func (c *conn) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outstanding < queueBytes
}

// silent is for how long the peer has sent nothing of what it owes.
func (c *conn) silent(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outstanding == 0 {
		return 0
	}
	return now.Sub(c.heard)
}

// Close closes the connection and leaves the session.
func (c *conn) Close() error {
	c.mu.Lock()
	left := c.joined && !c.closed
	c.closed = true
	c.mu.Unlock()
	err := c.Conn.Close()
	if left {
		c.session.post(func() { c.session.left(c) })
	}
	return err
}

// SetReadDeadline is the library's way to find dead peers, from the time of
// keep-alive messages. Once joined, TCP's keep-alive finds them sooner, and
// peers that have nothing to say to each other stay connected.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline sets both deadlines; see SetReadDeadline.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

// patient reads from a conn's socket. An interruption by reveal comes through
// only where the conn can act on it.
type patient struct{ c *conn }

func (p patient) Read(b []byte) (int, error) {
	for {
		n, err := p.c.Conn.Read(b)
		if p.c.session == nil || p.c.boundary || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		p.c.Conn.SetReadDeadline(time.Time{})
	}
}
