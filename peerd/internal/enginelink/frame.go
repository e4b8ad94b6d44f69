package enginelink

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"swarmboot/images"
)

// kind is the first byte of a message.
type kind byte

const (
	helloKind     kind = 'h' // root to engine, first and once: Hello as JSON
	haveKind      kind = 'v' // root to engine: piece numbers
	elsewhereKind kind = 'e' // root to engine: piece numbers
	demandKind    kind = 'd' // root to engine: piece numbers
	paceKind      kind = 'p' // root to engine: one number
	answerKind    kind = 'a' // root to engine: the oldest piece unanswered, and the answer
	pieceKind     kind = 'P' // engine to root: piece number, then its bytes
	leftKind      kind = 'l' // engine to root: piece numbers
	statsKind     kind = 's' // engine to root: swarm.Stats as JSON
)

// limit is how long the body of a message may be. Both ends are ours, but an
// engine gone wrong must not bring the root server down with it.
func (k kind) limit() int {
	switch k {
	case helloKind:
		return 64 << 20 // piece hashes, torrent and profile of a very large image
	case haveKind, elsewhereKind, demandKind, leftKind:
		return 4 << 20 // a million pieces
	case pieceKind:
		return 4 + images.MaxPieceLength
	case paceKind, answerKind, statsKind:
		return 64 << 10
	default:
		return -1
	}
}

const headerLength = 5 // kind, then the length of the body in four bytes, big-endian

// writeFrame sends one message whose body is the given parts, one after the
// other.
func writeFrame(w io.Writer, k kind, parts ...[]byte) error {
	header := make([]byte, headerLength)
	header[0] = byte(k)
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	if n > k.limit() {
		return fmt.Errorf("message %q of %d bytes; at most %d may be sent", k, n, k.limit())
	}
	binary.BigEndian.PutUint32(header[1:], uint32(n))
	buffers := append(net.Buffers{header}, parts...)
	_, err := buffers.WriteTo(w)
	return err
}

// readFrame receives one message. The body lies in buf if it fits, and is valid
// until buf is used again. A stream that ends between two messages gives io.EOF.
func readFrame(r io.Reader, buf []byte) (kind, []byte, error) {
	var header [headerLength]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	k, n := kind(header[0]), int(binary.BigEndian.Uint32(header[1:]))
	if n > k.limit() {
		return 0, nil, fmt.Errorf("message %q of %d bytes; at most %d are read", k, n, k.limit())
	}
	if n > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("message %q: %w", k, err)
	}
	return k, buf, nil
}

// encodeNumbers is the body of a message that lists pieces.
func encodeNumbers(numbers ...int) []byte {
	body := make([]byte, 0, 4*len(numbers))
	for _, n := range numbers {
		body = binary.BigEndian.AppendUint32(body, uint32(n))
	}
	return body
}

// decodeNumbers reads a list of numbers below limit.
func decodeNumbers(body []byte, limit int) ([]int, error) {
	if len(body)%4 != 0 {
		return nil, fmt.Errorf("%d bytes are no list of numbers", len(body))
	}
	numbers := make([]int, 0, len(body)/4)
	for ; len(body) > 0; body = body[4:] {
		n := int(binary.BigEndian.Uint32(body))
		if n >= limit {
			return nil, fmt.Errorf("number %d; want one below %d", n, limit)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// decodePiece reads the number of a piece and finds its bytes.
func decodePiece(body []byte, count int) (piece int, data []byte, err error) {
	if len(body) < 4 {
		return 0, nil, fmt.Errorf("piece message of %d bytes", len(body))
	}
	numbers, err := decodeNumbers(body[:4], count)
	if err != nil {
		return 0, nil, err
	}
	return numbers[0], body[4:], nil
}
