package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/anacrolix/torrent/bencode"

	"swarmboot/images/delta"
)

// Messages of the peer wire protocol (BEP 3), its fast extension (BEP 6) and
// the extension protocol (BEP 10). Those that are missing here mean nothing to
// us: instead of choking and unchoking, peers of ours give each other turns (see
// below); others ask for what they like.
const (
	msgChoke      = 0
	msgUnchoke    = 1
	msgInterested = 2
	msgHave       = 4
	msgBitfield   = 5
	msgRequest    = 6
	msgPiece      = 7
	msgCancel     = 8
	msgHaveAll    = 14
	msgHaveNone   = 15
	msgReject     = 16
	msgExtended   = 20
)

const (
	blockLength = delta.BlockLength // one message asks for

	// maxBlock is how much one message may ask us for.
	maxBlock = 128 << 10

	// maxExtended bounds an extension message, in bytes; a handshake has a few
	// hundred.
	maxExtended = 16 << 10

	handshakeLength = 68
	protocolName    = "\x13BitTorrent protocol"
)

// A handshake begins a connection.
type handshake struct {
	infohash, peerID [20]byte
	extended         bool // it knows the extension protocol
}

func (h handshake) encode() []byte {
	b := make([]byte, 0, handshakeLength)
	b = append(b, protocolName...)
	b = append(b, 0, 0, 0, 0, 0, 0x10, 0, 0x04) // BEP 10, BEP 6
	b = append(b, h.infohash[:]...)
	return append(b, h.peerID[:]...)
}

func readHandshake(r io.Reader) (handshake, error) {
	var b [handshakeLength]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return handshake{}, err
	}
	if string(b[:len(protocolName)]) != protocolName {
		return handshake{}, errors.New("the peer doesn't speak BitTorrent")
	}
	bits := b[len(protocolName):]
	if bits[7]&0x04 == 0 {
		return handshake{}, errors.New("the peer doesn't know the fast extension (BEP 6)")
	}
	return handshake{[20]byte(b[28:48]), [20]byte(b[48:68]), bits[5]&0x10 != 0}, nil
}

// A block is the part of a piece that one message carries.
type block struct{ piece, begin, length int }

// appendMessage appends a message without the block that may follow it.
func appendMessage(b []byte, id byte, numbers ...int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+4*len(numbers)))
	b = append(b, id)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return b
}

// appendKeepAlive appends the message that says nothing.
func appendKeepAlive(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// appendPieceHeader appends what comes before the bytes of a block.
func appendPieceHeader(b []byte, k block) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(9+k.length))
	b = append(b, msgPiece)
	b = binary.BigEndian.AppendUint32(b, uint32(k.piece))
	return binary.BigEndian.AppendUint32(b, uint32(k.begin))
}

// appendExtended appends a message of the extension protocol. Number 0 is the
// handshake.
func appendExtended(b []byte, number byte, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(2+len(payload)))
	b = append(b, msgExtended, number)
	return append(b, payload...)
}

// appendPieces appends what a peer has, in the shortest form.
func appendPieces(b []byte, count int, has func(int) bool) []byte {
	bits, n := make([]byte, (count+7)/8), 0
	for i := range count {
		if has(i) {
			bits[i/8] |= 0x80 >> (i % 8)
			n++
		}
	}
	switch n {
	case 0:
		return appendMessage(b, msgHaveNone)
	case count:
		return appendMessage(b, msgHaveAll)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(bits)))
	return append(append(b, msgBitfield), bits...)
}

// decodePieces reads a message about the pieces that a peer has.
func decodePieces(id byte, body []byte, count int) (pieces []int, err error) {
	switch {
	case id == msgHave && len(body) == 4:
		if piece := binary.BigEndian.Uint32(body); piece < uint32(count) {
			return []int{int(piece)}, nil
		}
		return nil, fmt.Errorf("piece %d of %d", binary.BigEndian.Uint32(body), count)
	case id == msgBitfield && len(body) == (count+7)/8:
		for i := range count {
			if body[i/8]&(0x80>>(i%8)) != 0 {
				pieces = append(pieces, i)
			}
		}
		return pieces, nil
	case id == msgHaveAll && len(body) == 0:
		for i := range count {
			pieces = append(pieces, i)
		}
		return pieces, nil
	case id == msgHaveNone && len(body) == 0:
		return nil, nil
	}
	return nil, fmt.Errorf("message %d about the pieces has %d bytes; there are %d pieces", id, len(body), count)
}

// decodeBlock reads the body of a request or of a cancel.
func decodeBlock(body []byte) (block, error) {
	if len(body) != 12 {
		return block{}, fmt.Errorf("message about a block has %d bytes", len(body))
	}
	k := block{int(binary.BigEndian.Uint32(body)), int(binary.BigEndian.Uint32(body[4:])), int(binary.BigEndian.Uint32(body[8:]))}
	if k.length == 0 || k.length > maxBlock {
		return block{}, fmt.Errorf("a block of %d bytes; at most %d are sent at once", k.length, maxBlock)
	}
	return k, nil
}

// extensions is the handshake of the extension protocol.
type extensions struct {
	Numbers map[string]int `bencode:"m"`
	Version string         `bencode:"v,omitempty"`
	Queue   int            `bencode:"reqq,omitempty"` // requests that we keep
}

// Extension messages between our own programs.
//
// fetching, with four bytes that name a piece: the sender is fetching it from the
// seeder. Others who need it wait for the sender to have it. Without it, machines
// that boot in step ask the seeder for the same pieces at the same moment.
//
// wish, with a byte, a schedule.Urgency: the sender would like to ask for a piece.
// If that is known already, a keep-alive (BEP 3) answers it: we live.
//
// turn: the peer may ask for one. pass: it has no use for its turn, and no wish.
const (
	fetchingNumber = 1 + iota // of our choice, for what comes to us
	wishNumber
	turnNumber
	passNumber
	endOfNumbers
)

var ourNames = [endOfNumbers]string{
	fetchingNumber: "swarmboot_fetching", wishNumber: "swarmboot_wish", turnNumber: "swarmboot_turn", passNumber: "swarmboot_pass",
}

// numbers are by what a peer knows our messages; 0: it doesn't.
type numbers [endOfNumbers]byte

func appendExtensions(b []byte) []byte {
	e := extensions{Numbers: make(map[string]int), Version: "Swarmboot", Queue: maxUploads}
	for number, name := range ourNames[1:] {
		e.Numbers[name] = 1 + number
	}
	return appendExtended(b, 0, bencode.MustMarshal(e))
}

// decodeExtensions reads the peer's numbers.
func decodeExtensions(payload []byte) (theirs numbers, err error) {
	var e extensions
	if err := bencode.Unmarshal(payload, &e); err != nil {
		return numbers{}, fmt.Errorf("handshake of the extension protocol: %w", err)
	}
	for number, name := range ourNames[1:] {
		if n := e.Numbers[name]; n > 0 && n < 256 {
			theirs[1+number] = byte(n)
		}
	}
	return theirs, nil
}
