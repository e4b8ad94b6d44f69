package swarm

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/swarm/schedule"
)

// message encodes a message of the wire protocol.
func message(id byte, body ...byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(1+len(body))), id), body...)
}

func have(piece byte) []byte { return message(msgHave, 0, 0, 0, piece) }

// meet connects a conn in a session of ten pieces with a peer that has said its
// handshake.
func meet(t testing.TB) (c *conn, peer net.Conn, s *Session) {
	s = &Session{
		cfg:      Config{Pieces: images.Pieces{Size: 10 * images.MinPieceLength, Length: images.MinPieceLength}},
		schedule: schedule.New(10, nil, 1),
		arriving: make(map[string]*conn),
		conns:    make(map[schedule.Peer]*conn),
	}
	s.buffers = newBuffers(s)
	s.inbox.wake = make(chan struct{}, 1)
	ours, peer := net.Pipe()
	t.Cleanup(func() { ours.Close(); peer.Close() })
	c = newConn(ours, func([20]byte) *Session { return s })
	go peer.Write(make([]byte, handshakeLen))
	if _, err := io.ReadFull(c, make([]byte, handshakeLen)); err != nil {
		t.Fatal(err)
	}
	s.work()
	delete(s.arriving, c.RemoteAddr().String())
	c.id = 1
	s.conns[1] = c
	s.schedule.Join(1, false)
	return c, peer, s
}

// expect reads what the library would.
func expect(t *testing.T, c *conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the library reads %v, %v; want %v", got, err, want)
	}
}

func TestConnHidesPiecesAndReveals(t *testing.T) {
	c, peer, s := meet(t)
	unchoke, keepAlive := message(1), []byte{0, 0, 0, 0}
	go peer.Write(bytes.Join([][]byte{
		message(msgBitfield, 0b10000000, 0b01000000), have(3), unchoke, keepAlive,
	}, nil))
	expect(t, c, append(unchoke, keepAlive...))
	s.work()
	s.schedule.SetFull(true)
	offered := make(map[int]bool)
	for {
		f, ok := s.schedule.Next(time.Now(), func(schedule.Peer) bool { return true })
		if !ok {
			break
		}
		offered[f.Piece] = true
	}
	if len(offered) != 3 || !offered[0] || !offered[9] || !offered[3] {
		t.Errorf("the peer offers %v; want 0, 3 and 9", offered)
	}

	// A Read that waits for the peer is woken.
	read := make(chan []byte)
	go func() {
		b := make([]byte, len(have(9)))
		io.ReadFull(c, b)
		read <- b
	}()
	c.reveal(9, 100)
	if got := <-read; !bytes.Equal(got, have(9)) {
		t.Errorf("the library reads %v; want that the peer has piece 9", got)
	}

	// In the middle of a message it waits for its end.
	block := message(msgPiece, append([]byte{0, 0, 0, 9, 0, 0, 0, 0}, make([]byte, 60)...)...)
	go peer.Write(block[:20])
	expect(t, c, block[:20])
	c.reveal(3, 50)
	go peer.Write(block[20:])
	expect(t, c, append(block[20:], have(3)...))
	if c.outstanding != 100-60+50 {
		t.Errorf("%d bytes are outstanding; want 90", c.outstanding)
	}
	c.forget(9)
	c.forget(3)
	if c.outstanding != 0 || c.silent(time.Now().Add(time.Hour)) != 0 {
		t.Errorf("%d bytes are outstanding after all is forgotten", c.outstanding)
	}
}

func TestConnRefuses(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"long bitfield":     message(msgBitfield, make([]byte, 100)...),
		"short bitfield":    message(msgBitfield, 1),
		"HAVE of two bytes": message(msgHave, 0, 1),
		"HAVE ALL of what":  message(msgHaveAll, 1),
		"block of nothing":  message(msgPiece, 1),
		"endless bitfield":  {0xff, 0xff, 0xff, 0xff, msgBitfield},
	} {
		c, peer, _ := meet(t)
		go peer.Write(bytes)
		if n, err := c.Read(make([]byte, 100)); err == nil {
			t.Errorf("%s: the library reads %d bytes; want an error", name, n)
		}
	}
}

// Whatever a peer sends, the library sees whole messages, and none about pieces
// that weren't revealed.
func FuzzConn(f *testing.F) {
	f.Add(have(3))
	f.Add(append(message(msgBitfield, 0xff, 0xc0), message(1)...))
	f.Add(append(message(msgPiece, 0, 0, 0, 1, 0, 0, 0, 0, 7), message(msgHaveAll)...))
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4})
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, peer, s := meet(t)
		go func() { peer.Write(sent); peer.Close() }()
		got, _ := io.ReadAll(c)
		s.work()
		for len(got) >= 5 {
			n := int(binary.BigEndian.Uint32(got))
			if id := got[4]; n > 0 && (id == msgHave || id == msgBitfield || id == msgHaveAll || id == msgHaveNone) {
				t.Fatalf("the library sees message %d about the peer's pieces", id)
			}
			got = got[min(len(got), 4+n):]
		}
	})
}
