package images

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Limits of a piece's length. A piece is also what a torrent client hashes and
// passes on at once; the default is the measured best for shaped links.
const (
	MinPieceLength     = 16 << 10
	MaxPieceLength     = 16 << 20
	DefaultPieceLength = 256 << 10
)

// ErrBadPiece says that bytes are not those that the manifest names.
var ErrBadPiece = errors.New("piece does not match the manifest")

// Pieces divides a file into pieces of equal length, the last of which may be
// shorter, and knows the SHA-256 of each.
type Pieces struct {
	Size   int64  `json:"size"`   // of the file, bytes
	Length int64  `json:"length"` // of a piece, bytes, a power of two
	SHA256 []byte `json:"sha256"` // 32 bytes for each piece, one after the other
}

// Count is the number of pieces.
func (p Pieces) Count() int { return int((p.Size + p.Length - 1) / p.Length) }

// Offset is where piece i begins.
func (p Pieces) Offset(i int) int64 { return int64(i) * p.Length }

// Len is the length of piece i in bytes.
func (p Pieces) Len(i int) int { return int(min(p.Length, p.Size-p.Offset(i))) }

// Spanned returns the first and last piece that hold bytes [off, off+n), n > 0.
func (p Pieces) Spanned(off int64, n int) (first, last int) {
	return int(off / p.Length), int((off + int64(n) - 1) / p.Length)
}

// Sum is the SHA-256 of piece i.
func (p Pieces) Sum(i int) [sha256.Size]byte { return [sha256.Size]byte(p.SHA256[i*sha256.Size:]) }

// Verify returns ErrBadPiece unless data is piece i.
func (p Pieces) Verify(i int, data []byte) error {
	if i < 0 || i >= p.Count() || len(data) != p.Len(i) {
		return fmt.Errorf("piece %d of %d bytes: %w", i, len(data), ErrBadPiece)
	}
	if sha256.Sum256(data) != p.Sum(i) {
		return fmt.Errorf("piece %d: %w", i, ErrBadPiece)
	}
	return nil
}

func (p Pieces) validate() error {
	if p.Length < MinPieceLength || p.Length > MaxPieceLength || p.Length&(p.Length-1) != 0 {
		return fmt.Errorf("piece length %d: want a power of two from %d to %d", p.Length, MinPieceLength, MaxPieceLength)
	}
	if p.Size <= 0 || len(p.SHA256) != p.Count()*sha256.Size {
		return fmt.Errorf("%d bytes of piece hashes do not fit %d bytes in pieces of %d", len(p.SHA256), p.Size, p.Length)
	}
	return nil
}
