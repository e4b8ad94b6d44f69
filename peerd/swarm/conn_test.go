package swarm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/swarm/schedule"
)

// hollow is an empty Store that keeps nothing.
type hollow struct{}

func (hollow) Has(int) bool                      { return false }
func (hollow) Put(int, []byte) error             { return nil }
func (hollow) ReadAt([]byte, int64) (int, error) { return 0, errors.New("nothing is there") }

// meet is a conn with a peer in a session of ten pieces of two blocks.
func meet(t testing.TB) (c *conn, peer net.Conn) {
	pieces := images.Pieces{Size: 10 * 2 * blockLength, Length: 2 * blockLength}
	s := newSession(&Port{uplink: newUplink()}, Config{Pieces: pieces, Store: hollow{}, Log: slog.New(slog.DiscardHandler)}, [20]byte{})
	s.ctx = t.Context()
	ours, peer := net.Pipe()
	t.Cleanup(func() { ours.Close(); peer.Close() })
	c = newConn(ours, s, [20]byte{1}, false)
	s.conns[c.id] = c
	s.port.uplink.join(c)
	return c, peer
}

// message encodes any message.
func message(id byte, body ...byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(1+len(body))), id), body...)
}

func TestHandshake(t *testing.T) {
	want := handshake{infohash: [20]byte{1, 2}, peerID: [20]byte{3, 4}, extended: true}
	if got, err := readHandshake(bytes.NewReader(want.encode())); err != nil || got != want {
		t.Errorf("readHandshake = %v, %v; want %v", got, err, want)
	}
	foreign, slow := want.encode(), want.encode()
	foreign[1], slow[27] = 'b', 0
	for name, b := range map[string][]byte{"another protocol": foreign, "no fast extension": slow, "short": want.encode()[1:]} {
		if _, err := readHandshake(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: readHandshake = nil; want an error", name)
		}
	}
}

func TestPiecesRoundTrip(t *testing.T) {
	for _, want := range [][]int{nil, {0}, {3, 8, 9}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		b := appendPieces(nil, 10, func(piece int) bool { return slices.Contains(want, piece) })
		if got, err := decodePieces(b[4], b[5:], 10); err != nil || !slices.Equal(got, want) {
			t.Errorf("decodePieces(%v) = %v, %v; want %v", b, got, err, want)
		}
	}
}

func TestExtensionsRoundTrip(t *testing.T) {
	b := appendExtensions(nil)
	want := numbers{fetchingNumber: fetchingNumber, wishNumber: wishNumber, turnNumber: turnNumber, passNumber: passNumber}
	if got, err := decodeExtensions(b[6:]); err != nil || got != want {
		t.Errorf("decodeExtensions = %v, %v; want our own numbers %v", got, err, want)
	}
}

// A block that was asked for reaches its piece, the last one the judges; what
// wasn't asked for, or came before, is thrown away.
func TestBlocks(t *testing.T) {
	c, peer := meet(t)
	blocks := c.session.assembly.missing(3)
	c.ask(blocks[:1])
	send := func(k block, fill byte) {
		peer.Write(append(appendPieceHeader(nil, k), bytes.Repeat([]byte{fill}, k.length)...))
	}
	go func() {
		send(blocks[1], 9) // not asked for
		send(blocks[0], 1)
		send(blocks[0], 9) // twice
		c.ask(blocks[1:])
		send(blocks[1], 2)
		peer.Close()
	}()
	ended := make(chan error)
	go func() { ended <- c.read() }()
	select {
	case u := <-c.session.whole:
		want := append(bytes.Repeat([]byte{1}, blockLength), bytes.Repeat([]byte{2}, blockLength)...)
		if u.piece != 3 || !bytes.Equal(u.data, want) {
			t.Errorf("piece %d came with wrong bytes", u.piece)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no piece came")
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("read = %v", err)
	}
	if got := c.session.Stats(); got.Duplicates != 2*blockLength || got.FromPeers != 2*blockLength {
		t.Errorf("%+v; want two blocks, and two for nothing", got)
	}
}

// Two conns may bring the blocks of one piece.
func TestAssemblyOfTwo(t *testing.T) {
	a := newAssembly(func(int) int { return 2*blockLength + 5 })
	alice, bob := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	first := a.missing(7)
	if len(first) != 3 || first[2].length != 5 {
		t.Fatalf("missing = %v; want three blocks, the last of 5 bytes", first)
	}
	if u, wanted := a.add(first[0], make([]byte, blockLength), alice); !wanted || u != nil {
		t.Errorf("the first block: %v, %v", u, wanted)
	}
	if got := a.missing(7); !slices.Equal(got, first[1:]) {
		t.Errorf("missing = %v; want %v", got, first[1:])
	}
	for i, k := range first[1:] {
		u, wanted := a.add(k, make([]byte, k.length), bob)
		if !wanted || (u != nil) != (i == 1) {
			t.Errorf("add(%v) = %v, %v", k, u, wanted)
		}
		if _, again := a.add(k, make([]byte, k.length), alice); again {
			t.Error("a block is wanted twice")
		}
		if u != nil && !slices.Equal(u.givers, []netip.Addr{alice, bob}) {
			t.Errorf("the piece is of %v; want both", u.givers)
		}
	}
}

// A machine that loses its power in the middle of a block is asked for nothing
// more, and another gives that piece in its place. If it had only held its breath,
// it is asked again.
func TestABlockThatBreaksOff(t *testing.T) {
	c, peer := meet(t)
	s := c.session
	second := newConn(peer, s, [20]byte{2}, false)
	second.id = c.id + 1
	s.conns[second.id] = second
	for _, one := range []*conn{c, second} {
		s.welcomed(one)
		s.offered(one, []int{3})
	}
	now := time.Now()
	s.schedule.Demand([]int{3}, now)
	asked := func() []schedule.Peer { s.fetch(); return s.schedule.Asked(3) }
	first := asked()
	if len(first) != 1 {
		t.Fatalf("%v are asked; want one of the two", first)
	}
	giver, other := c, second
	if first[0] == second.id {
		giver, other = second, c
	}
	later := func(after time.Duration) {
		for at := time.Duration(0); at <= after; at += tick {
			s.watch(now.Add(at))
		}
		now = now.Add(after)
	}
	later(s.schedule.Patience() - tick)
	if got := asked(); !slices.Equal(got, first) {
		t.Errorf("%v are asked while the first may still answer; want %v", got, first)
	}
	later(2 * tick)
	if got := asked(); !slices.Equal(got, []schedule.Peer{other.id}) || other.outstanding != 2*blockLength {
		t.Errorf("%v are asked for %d bytes; want only the other, for all", got, other.outstanding)
	}
	if giver.outstanding != 2*blockLength {
		t.Error("what the silent one owes is not awaited any more")
	}
	giver.heard, other.heard = now, now
	later(tick)
	if giver.lost || !giver.unchoked {
		t.Error("a peer that says something again is not back")
	}
	s.done(3)
	if giver.outstanding > 0 || other.outstanding > 0 {
		t.Errorf("%d and %d bytes are owed of a piece that is there", giver.outstanding, other.outstanding)
	}
	giver.ask(s.assembly.missing(4))
	giver.heard = now
	s.watch(now.Add(2 * s.schedule.Patience()))
	if giver.lost {
		t.Error("a peer is lost for the time in which we were stopped")
	}
}

// Both turns that a peer has given are kept while enough pieces are under way, and go
// back when a read waits.
func TestTurnsAreKept(t *testing.T) {
	c, _ := meet(t)
	s := c.session
	s.welcomed(c)
	s.offered(c, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	s.schedule.SetFull(true)
	s.fetch()
	s.turn(c)
	s.turn(c)
	s.fetch()
	if c.turns != 2 {
		t.Errorf("%d of two turns are kept", c.turns)
	}
	for piece := range 10 {
		if len(s.schedule.Asked(piece)) > 0 {
			s.schedule.Demand([]int{piece}, time.Now())
		}
	}
	s.fetch()
	if c.turns != 0 || len(s.turned) > 0 {
		t.Errorf("%d turns are kept while a read waits", c.turns)
	}
}

// Who wishes what he is known to wish asks whether we live.
func TestSignOfLife(t *testing.T) {
	c, peer := meet(t)
	wish := appendExtended(nil, wishNumber, []byte{byte(schedule.Profile)})
	go func() { peer.Write(wish); peer.Write(wish); peer.Close() }()
	c.read()
	if want := appendKeepAlive(nil); !bytes.Equal(c.out, want) {
		t.Errorf("two wishes are answered by %x; want %x", c.out, want)
	}
}

func TestConnRefuses(t *testing.T) {
	for name, sent := range map[string][]byte{
		"a piece that isn't there":  message(msgHave, 0, 0, 0, 10),
		"half a have":               message(msgHave, 0, 0),
		"a short bitfield":          message(msgBitfield, 0xff),
		"a request behind the end":  appendMessage(nil, msgRequest, 9, 2*blockLength-1, 2),
		"a request of nothing":      appendMessage(nil, msgRequest, 9, 0, 0),
		"a request that is large":   appendMessage(nil, msgRequest, 0, 0, maxBlock+1),
		"a block that is large":     appendPieceHeader(nil, block{0, 0, blockLength + 1}),
		"a message without an end":  {0xff, 0xff, 0xff, 0xff, msgHave},
		"an endless block":          {0xff, 0xff, 0xff, 0xff, msgPiece, 0, 0, 0, 0, 0, 0, 0, 0},
		"a choke":                   message(msgChoke),
		"extensions that are none":  message(msgExtended, 0, 'x'),
		"a block without a place":   message(msgPiece, 0),
		"a request without a block": message(msgRequest),
		"a bitfield of other sizes": message(msgHaveAll, 1),
	} {
		c, peer := meet(t)
		go func() { peer.Write(sent); peer.Close() }()
		if err := c.read(); strings.Contains(err.Error(), "EOF") {
			t.Errorf("%s: read = %v; want a refusal", name, err)
		}
	}
}

// Whatever a peer sends, the session stays as it is.
func FuzzConn(f *testing.F) {
	f.Add(message(msgHave, 0, 0, 0, 3))
	f.Add(append(message(msgBitfield, 0xff, 0xc0), message(msgUnchoke)...))
	f.Add(append(message(msgPiece, 0, 0, 0, 1, 0, 0, 0, 0, 7), message(msgHaveAll)...))
	f.Add(append(appendMessage(nil, msgRequest, 1, 0, blockLength), appendMessage(nil, msgCancel, 1, 0, blockLength)...))
	f.Add(appendExtensions(nil))
	f.Add(appendExtended(nil, fetchingNumber, []byte{0, 0, 0, 200}))
	f.Add(appendExtended(appendExtended(appendExtensions(nil), wishNumber, []byte{3}), turnNumber, nil))
	f.Add(appendExtended(appendExtended(nil, wishNumber, []byte{200}), passNumber, nil))
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4})
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, peer := meet(t)
		c.ask(c.session.assembly.missing(1)[:1])
		go func() { peer.Write(sent); peer.Close() }()
		c.read()
		c.session.work()
		c.session.fetch()
	})
}
