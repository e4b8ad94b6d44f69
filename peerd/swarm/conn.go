package swarm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"swarmboot/peerd/swarm/schedule"
)

const (
	// A peer's queue has room for one more piece when no more is outstanding
	// than comes in this time at the rate that it has shown. Deeper queues commit
	// to a peer before rarity shows, and a piece waits longer in them: with a
	// quarter of a megabyte from each peer, eight machines at 25 Mbit/s needed
	// 1.15 of the bound for an image and 2.2 for a boot, and 1.14 and 1.85 with
	// this.
	queueTime = 50 * time.Millisecond

	// minQueue keeps one block under way whatever the rate, so that a peer is not
	// idle while a request travels. With two, boots took a twentieth longer.
	minQueue = blockLength

	// maxQueue is enough for 10 Gbit/s at half a millisecond, and bounds what a
	// lost peer had to be asked for in vain.
	maxQueue = 1 << 20

	// maxUploads is how many blocks a peer may ask for at once. One with eight
	// times our own maxQueue is broken.
	maxUploads = 8 * maxQueue / blockLength

	// writeBytes is how much goes to the socket at once, and is one turn: half of
	// a piece, so that few system calls are made and the next turn isn't far.
	writeBytes = 128 << 10
)

// A conn is the connection with a peer, from the handshake on. One goroutine
// reads from it, one writes to it, and the session's says what.
type conn struct {
	net.Conn
	session *Session
	address netip.Addr // of the peer
	peerID  [20]byte
	dialled bool // by us
	in      *bufio.Reader

	mu          sync.Mutex
	out         []byte             // messages to be sent; guarded by mu, like all below
	uploads     []block            // that the peer has asked for
	urgent      int                // how many of them, at the front, a read waits for
	urgentPiece int                // whose blocks are urgent; -1: none
	wake        chan struct{}      // holds a token when out or uploads isn't empty
	owed        map[block]struct{} // that we have asked for
	outstanding int                // bytes of owed
	heard       time.Time          // when bytes of a block last came, or were asked for
	meter       meter

	// Only the session's goroutine uses these.
	id       schedule.Peer
	seeder   bool
	far      bool // a machine in another rack
	unchoked bool
	has      []bool // pieces that the peer has
	numbers  numbers
}

func newConn(c net.Conn, s *Session, peerID [20]byte, dialled bool) *conn {
	return &conn{
		Conn: c, session: s, address: address(c.RemoteAddr().String()), peerID: peerID, dialled: dialled,
		in:   bufio.NewReaderSize(c, 64<<10),
		wake: make(chan struct{}, 1),
		owed: make(map[block]struct{}),
		has:  make([]bool, s.cfg.Pieces.Count()),

		urgentPiece: -1,
	}
}

// run exchanges messages until the connection ends.
func (c *conn) run() {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.write(ended); err != nil {
			c.session.log.Debug("connection ends", "peer", c.RemoteAddr(), "err", err)
		}
		c.Close()
	})
	if err := c.read(); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.session.log.Debug("connection ends", "peer", c.RemoteAddr(), "err", err)
	}
	close(ended)
	c.Close()
	wg.Wait()
}

// read takes messages until it fails, at the end of the connection with io.EOF.
func (c *conn) read() error {
	for {
		var head [4]byte
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return err
		}
		length := int(binary.BigEndian.Uint32(head[:]))
		if length == 0 {
			continue // keep-alive
		}
		id, err := c.in.ReadByte()
		if err != nil {
			return err
		}
		if id == msgPiece {
			err = c.readBlock(length - 1)
		} else {
			err = c.readMessage(id, length-1)
		}
		if err != nil {
			return err
		}
	}
}

// readMessage takes a message that is not a block.
func (c *conn) readMessage(id byte, length int) error {
	count := c.session.cfg.Pieces.Count()
	if length > max(maxExtended, (count+7)/8) {
		return fmt.Errorf("message %d has %d bytes", id, length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return err
	}
	switch id {
	case msgHave, msgBitfield, msgHaveAll, msgHaveNone:
		pieces, err := decodePieces(id, body, count)
		if err != nil {
			return err
		}
		c.session.post(func() { c.session.offered(c, pieces) })
	case msgUnchoke:
		c.session.post(func() { c.session.welcomed(c) })
	case msgRequest:
		return c.asked(body)
	case msgCancel:
		k, err := decodeBlock(body)
		if err != nil {
			return err
		}
		c.mu.Lock()
		if i := slices.Index(c.uploads, k); i >= 0 {
			c.uploads = slices.Delete(c.uploads, i, i+1)
			if i < c.urgent {
				c.urgent--
			}
		}
		c.mu.Unlock()
	case msgReject:
		return c.refused(body)
	case msgChoke: // of our own peers none does: this one is of no use at the moment
		return errors.New("the peer refuses to send")
	case msgExtended:
		return c.readExtended(body)
	}
	return nil
}

func (c *conn) readExtended(body []byte) error {
	switch {
	case len(body) > 0 && body[0] == 0:
		numbers, err := decodeExtensions(body[1:])
		if err != nil {
			return err
		}
		c.session.post(func() { c.numbers = numbers })
	case len(body) == 5 && body[0] == fetchingNumber:
		piece := int(binary.BigEndian.Uint32(body[1:]))
		c.session.post(func() { c.session.coming(c, piece) })
	case len(body) == 5 && body[0] == urgentNumber:
		c.advance(int(binary.BigEndian.Uint32(body[1:])))
	}
	return nil
}

// asked takes the peer's request for a block.
func (c *conn) asked(body []byte) error {
	k, err := decodeBlock(body)
	if err != nil {
		return err
	}
	pieces := c.session.cfg.Pieces
	if k.piece >= pieces.Count() || k.begin+k.length > pieces.Len(k.piece) {
		return fmt.Errorf("the peer asks for bytes %d to %d of piece %d, which aren't there", k.begin, k.begin+k.length, k.piece)
	}
	if !c.session.cfg.Store.Has(k.piece) || c.session.gifts.spared(k.piece, c.address, time.Now()) {
		c.send(appendMessage(nil, msgReject, k.piece, k.begin, k.length))
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.uploads) >= maxUploads {
		return fmt.Errorf("the peer asks for more than %d blocks at once", maxUploads)
	}
	if k.piece == c.urgentPiece {
		c.uploads = slices.Insert(c.uploads, c.urgent, k)
		c.urgent++
	} else {
		c.uploads = append(c.uploads, k)
	}
	c.stir()
	return nil
}

// advance puts the blocks of a piece before the others.
func (c *conn) advance(piece int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.urgentPiece = piece
	for i := c.urgent; i < len(c.uploads); i++ {
		if k := c.uploads[i]; k.piece == piece {
			c.uploads = slices.Insert(slices.Delete(c.uploads, i, i+1), c.urgent, k)
			c.urgent++
		}
	}
}

// refused takes the peer's word that a block doesn't come. The seeder refuses
// what a machine is getting at the moment; a machine, what it hasn't, and then
// it has told lies.
func (c *conn) refused(body []byte) error {
	k, err := decodeBlock(body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	_, owed := c.owed[k]
	if owed {
		delete(c.owed, k)
		c.outstanding -= k.length
	}
	c.mu.Unlock()
	switch {
	case !owed:
		return nil
	case !c.seeder:
		return errors.New("the peer refuses to send what it has")
	}
	c.session.post(func() {
		if c.session.conns[c.id] == c {
			c.session.schedule.Refused(c.id, k.piece, time.Now())
		}
	})
	return nil
}

// readBlock takes the bytes of a block to where they belong.
func (c *conn) readBlock(length int) error {
	if length < 8 {
		return fmt.Errorf("message of a block has %d bytes", length)
	}
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return err
	}
	k := block{int(binary.BigEndian.Uint32(head[:])), int(binary.BigEndian.Uint32(head[4:])), length - 8}
	if k.length <= 0 || k.length > blockLength {
		return fmt.Errorf("a block of %d bytes came", k.length)
	}
	var piece *unfinished
	var room []byte
	if c.paid(k) {
		piece, room = c.session.assembly.arrive(k)
	}
	if room == nil { // it came from another peer before we could say so
		c.session.duplicates.Add(int64(k.length))
		_, err := c.in.Discard(k.length)
		return err
	}
	_, err := io.ReadFull(c.in, room)
	last := c.session.assembly.arrived(piece, k, c.address, err == nil)
	if err != nil {
		return err
	}
	c.session.count(c, k.length)
	if last {
		c.session.judge(piece)
	}
	return nil
}

// paid notes that a block comes that was asked for, and calls the session when
// the queue has room again.
func (c *conn) paid(k block) bool {
	c.mu.Lock()
	_, owed := c.owed[k]
	hadRoom := c.outstanding < c.meter.queue()
	if owed {
		delete(c.owed, k)
		c.outstanding -= k.length
		c.heard = time.Now()
		c.meter.count(k.length, c.heard, c.outstanding == 0)
	}
	room := c.outstanding < c.meter.queue()
	c.mu.Unlock()
	if room && !hadRoom {
		c.session.post(func() {})
	}
	return owed
}

// ask asks the peer for blocks.
func (c *conn) ask(blocks []block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.outstanding == 0 {
		c.heard = now
		c.meter.begin(now)
	}
	for _, k := range blocks {
		if _, twice := c.owed[k]; !twice {
			c.owed[k] = struct{}{}
			c.outstanding += k.length
			c.out = appendMessage(c.out, msgRequest, k.piece, k.begin, k.length)
		}
	}
	c.stir()
}

// forget tells the peer that a piece needn't come any more.
func (c *conn) forget(piece int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.owed {
		if k.piece == piece {
			delete(c.owed, k)
			c.outstanding -= k.length
			c.out = appendMessage(c.out, msgCancel, k.piece, k.begin, k.length)
			c.stir()
		}
	}
}

// ready tells whether the peer's queue has room for one more piece.
func (c *conn) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outstanding < c.meter.queue()
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

// send queues an encoded message.
func (c *conn) send(message []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, message...)
	c.stir()
}

// stir wakes the writer. c.mu is held.
func (c *conn) stir() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends what is queued until the connection has ended. Messages go before
// blocks: they are few bytes, and who waits for one could be fetching.
func (c *conn) write(ended <-chan struct{}) error {
	buf := make([]byte, 0, writeBytes)
	for {
		select {
		case <-c.wake:
		case <-ended:
			return nil
		}
		for {
			var uploads []block
			var urgent bool
			buf, uploads, urgent = c.takeOut(buf[:0])
			if len(buf) == 0 && len(uploads) == 0 {
				break
			}
			if len(uploads) > 0 && len(buf) > 0 { // messages don't wait for a turn
				if _, err := c.Conn.Write(buf); err != nil {
					return err
				}
				buf = buf[:0]
			}
			done := func() {}
			if len(uploads) > 0 {
				done = c.session.port.turns.take(urgent, ended)
			}
			sent := 0
			for _, k := range uploads {
				buf = appendPieceHeader(buf, k)
				n := len(buf)
				buf = append(buf, make([]byte, k.length)...)
				if _, err := c.session.cfg.Store.ReadAt(buf[n:], c.session.cfg.Pieces.Offset(k.piece)+int64(k.begin)); err != nil && err != io.EOF {
					return fmt.Errorf("read piece %d: %w", k.piece, err)
				}
				sent += k.length
			}
			_, err := c.Conn.Write(buf)
			done()
			if err != nil {
				return err
			}
			c.session.uploaded.Add(int64(sent))
		}
	}
}

// takeOut moves messages to buf, and returns the blocks that go next: those that
// are urgent, or others.
func (c *conn) takeOut(buf []byte) (messages []byte, uploads []block, urgent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf = append(buf, c.out...)
	c.out = c.out[:0]
	urgent = c.urgent > 0
	n, size := 0, 0
	for n < len(c.uploads) && (!urgent || n < c.urgent) && (n == 0 || size+c.uploads[n].length <= writeBytes) {
		size += c.uploads[n].length
		n++
	}
	uploads = slices.Clone(c.uploads[:n])
	c.uploads = slices.Delete(c.uploads, 0, n)
	c.urgent = max(0, c.urgent-n)
	return buf, uploads, urgent
}

// A meter measures at what rate a peer sends while it has something to send.
type meter struct {
	rate  float64   // bytes per second; 0: not yet known
	since time.Time // of the bytes that are counted now
	bytes int
}

// begin notes that the peer has something to send from now on.
func (m *meter) begin(now time.Time) { m.since, m.bytes = now, 0 }

// count notes bytes; last, that none are outstanding any more.
func (m *meter) count(n int, now time.Time, last bool) {
	m.bytes += n
	d := now.Sub(m.since)
	if d < queueTime && !(last && m.rate == 0) {
		return
	}
	if sample := float64(m.bytes) / max(d, 100*time.Microsecond).Seconds(); m.rate == 0 {
		m.rate = sample
	} else {
		m.rate += (sample - m.rate) / 2
	}
	m.begin(now)
}

// queue is how many bytes shall be outstanding at least.
func (m *meter) queue() int {
	return min(max(int(m.rate*queueTime.Seconds()), minQueue), maxQueue)
}
