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
	"sync/atomic"
	"time"

	"swarmboot/peerd/swarm/schedule"
)

const (
	// foreignQueue is how much is outstanding at a peer that gives no turns.
	foreignQueue = 256 << 10

	// reminder is how long a peer may leave a wish without an answer.
	reminder = time.Second

	// maxUploads is how many blocks a peer may ask for at once. One that asks for
	// more than 8 MiB is broken.
	maxUploads = 512
)

// A conn is the connection with a peer, from the handshake on. One goroutine
// reads from it, one writes to it, and the session's says what.
type conn struct {
	net.Conn
	session *Session
	address netip.Addr // of the peer
	peerID  [20]byte
	dialled bool // by us
	seeder  bool
	far     bool // a machine in another rack; to the seeder, which stands in none, nobody is
	in      *bufio.Reader

	received, sent atomic.Int64 // bytes of pieces

	mu          sync.Mutex
	out         []byte             // messages to be sent; guarded by mu, like all below
	uploads     []block            // that the peer has asked for
	wake        chan struct{}      // holds a token when out or uploads isn't empty
	owed        map[block]struct{} // that we have asked for
	outstanding int                // bytes of owed
	heard       time.Time          // when the peer last sent anything, or began to owe us something
	numbers     numbers            // of our messages, at the peer

	// Only the session's goroutine uses these.
	id       schedule.Peer
	unchoked bool
	banned   bool             // nothing is fetched from it
	lost     bool             // it owes us an answer for so long that others are asked
	has      []bool           // pieces that the peer has
	turns    int              // that the peer has given us
	wish     schedule.Urgency // that the peer knows of
	wished   time.Time        // when it was last told, or gave us a turn
}

func newConn(raw net.Conn, s *Session, peerID [20]byte, dialled bool) *conn {
	from := address(raw.RemoteAddr().String())
	seeder := s.cfg.Seeder.IsValid() && from == s.cfg.Seeder.Addr().Unmap()
	c := &conn{
		Conn: raw, session: s, address: from, peerID: peerID, dialled: dialled,
		seeder: seeder, far: s.cfg.Seeder.IsValid() && !seeder && !inRack(s.peerID, peerID),
		wake: make(chan struct{}, 1),
		owed: make(map[block]struct{}),
		has:  make([]bool, s.cfg.Pieces.Count()),
	}
	c.in = bufio.NewReaderSize(c, 64<<10)
	return c
}

// Read notes that the peer lives.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.mu.Lock()
		c.heard = time.Now()
		c.mu.Unlock()
	}
	return n, err
}

// run exchanges messages until the connection ends.
func (c *conn) run() {
	c.session.port.uplink.join(c)
	defer c.session.port.uplink.leave(c)
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
			defer c.session.port.uplink.sent(c, k.length)
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
		c.mu.Lock()
		c.numbers = numbers
		c.mu.Unlock()
	case len(body) == 5 && body[0] == fetchingNumber:
		piece := int(binary.BigEndian.Uint32(body[1:]))
		c.session.post(func() { c.session.coming(c, piece) })
	case len(body) == 2 && body[0] == wishNumber:
		if !c.session.port.uplink.wish(c, schedule.Urgency(body[1])) {
			c.send(appendKeepAlive(nil)) // it only asks whether we live
		}
	case len(body) == 1 && body[0] == passNumber:
		c.session.port.uplink.pass(c)
	case len(body) == 1 && body[0] == turnNumber:
		c.session.post(func() { c.session.turn(c) })
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
	if !c.session.cfg.Store.Has(k.piece) || !c.give(k.piece) {
		c.session.port.uplink.refused(c, k)
		c.send(appendMessage(nil, msgReject, k.piece, k.begin, k.length))
		return nil
	}
	c.session.port.uplink.asked(c, k) // before it can be sent
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.uploads) >= maxUploads {
		return fmt.Errorf("the peer asks for more than %d blocks at once", maxUploads)
	}
	c.uploads = append(c.uploads, k)
	c.stir()
	return nil
}

// give tells whether the peer gets a piece that it asks for. The seeder tells the
// others when it begins to give one.
func (c *conn) give(piece int) bool {
	g := c.session.gifts
	if g == nil || !c.session.port.uplink.trusts(c) {
		return true // and a gift that nobody fetches from it is none
	}
	g.Lock()
	give, begins := g.given.Give(piece, c.address, time.Now(), c.session.heard)
	g.Unlock()
	if begins {
		c.session.post(func() { c.session.tell(piece) })
	}
	return give
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
	data, err := c.in.Peek(k.length)
	if err != nil {
		return err
	}
	var whole *unfinished
	wanted := c.paid(k)
	if wanted {
		whole, wanted = c.session.assembly.add(k, data, c.address)
	}
	if wanted {
		c.session.count(c, k.length)
	} else { // it came from another peer before we could say so
		c.session.duplicates.Add(int64(k.length))
	}
	if whole != nil {
		c.session.judge(whole)
	}
	_, err = c.in.Discard(k.length)
	return err
}

// paid notes that a block has come that was asked for, and calls the session when
// the queue has room again.
func (c *conn) paid(k block) bool {
	c.mu.Lock()
	_, owed := c.owed[k]
	hadRoom := c.outstanding < foreignQueue
	if owed {
		delete(c.owed, k)
		c.outstanding -= k.length
	}
	room := c.outstanding < foreignQueue
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
	c.owes()
	for _, k := range blocks {
		if _, twice := c.owed[k]; !twice {
			c.owed[k] = struct{}{}
			c.outstanding += k.length
			c.out = appendMessage(c.out, msgRequest, k.piece, k.begin, k.length)
		}
	}
	c.stir()
}

// forget tells the peer that a piece needn't come any more, if it was to come.
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

// ready tells whether the peer may be asked for one more piece: if it gives
// turns, whether it has given us one.
func (c *conn) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.numbers[turnNumber] != 0 {
		return c.turns > 0
	}
	return c.outstanding < foreignQueue
}

// use uses a turn, if there is one, for something of an urgency.
func (c *conn) use(u schedule.Urgency) {
	if c.turns == 0 {
		return
	}
	c.turns--
	if u < c.wish {
		c.setWish(u)
	}
}

// pass gives turns back.
func (c *conn) pass() {
	for ; c.turns > 0; c.turns-- {
		c.wish = schedule.Nothing
		c.sendOwn(passNumber)
	}
}

// want tells the peer that we want to ask it for something, unless it knows.
func (c *conn) want(u schedule.Urgency) {
	if u > c.wish {
		c.setWish(u)
	}
}

func (c *conn) setWish(u schedule.Urgency) {
	c.mu.Lock()
	c.owes()
	c.mu.Unlock()
	c.wish, c.wished = u, time.Now()
	c.sendOwn(wishNumber, byte(u))
}

// remind repeats a wish that has had no answer for so long: a peer gives no more
// turns to those who have let one lapse, until it hears of them, and one that has
// no turn to give answers that it lives.
func (c *conn) remind(now time.Time, after time.Duration) {
	if c.wish > schedule.Nothing && now.Sub(c.wished) > after {
		c.setWish(c.wish)
	}
}

// owing tells whether the peer has yet to answer us. c.mu is held.
func (c *conn) owing() bool {
	return c.outstanding > 0 || c.wish > schedule.Nothing && c.numbers[wishNumber] != 0
}

// owes notes that the peer gets something to answer. c.mu is held.
func (c *conn) owes() {
	if !c.owing() {
		c.heard = time.Now()
	}
}

// quiet is for how long the peer has sent nothing, though it owes us an answer.
func (c *conn) quiet(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.owing() {
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

// sendOwn queues a message of ours, unless the peer doesn't know it.
func (c *conn) sendOwn(number int, payload ...byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.numbers[number]; n != 0 {
		c.out = appendExtended(c.out, n, payload)
		c.stir()
	}
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
			buf, uploads = c.takeOut(buf[:0])
			if len(buf) > 0 {
				if _, err := c.Conn.Write(buf); err != nil {
					return err
				}
			}
			if len(uploads) > 0 {
				if err := c.upload(buf[:0], uploads, ended); err != nil {
					return err
				}
			} else if len(buf) == 0 {
				break
			}
		}
	}
}

// upload sends blocks when it's our turn.
func (c *conn) upload(buf []byte, uploads []block, ended <-chan struct{}) error {
	done := c.session.port.uplink.slot(c, ended)
	defer done()
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
	if _, err := c.Conn.Write(buf); err != nil {
		return err
	}
	c.session.uploaded.Add(int64(sent))
	c.sent.Add(int64(sent))
	c.session.port.uplink.sent(c, sent)
	return nil
}

// takeOut moves messages to buf, and returns the blocks that go next.
func (c *conn) takeOut(buf []byte) (messages []byte, uploads []block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf = append(buf, c.out...)
	c.out = c.out[:0]
	n, size := 0, 0
	for n < len(c.uploads) && (n == 0 || size+c.uploads[n].length <= writeBytes) {
		size += c.uploads[n].length
		n++
	}
	uploads = slices.Clone(c.uploads[:n])
	c.uploads = slices.Delete(c.uploads, 0, n)
	return buf, uploads
}
