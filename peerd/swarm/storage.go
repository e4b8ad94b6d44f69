package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"

	"github.com/anacrolix/torrent/metainfo"
	"github.com/anacrolix/torrent/storage"

	"swarmboot/images"
)

// buffers is what the library takes for storage. Blocks of an unfinished piece
// are gathered in memory; when all are there the piece goes to the Store, whose
// SHA-256 decides. Complete pieces are read from the Store.
type buffers struct {
	session *Session

	mu      sync.Mutex
	pieces  map[int][]byte       // unfinished; guarded by mu
	givers  map[int][]netip.Addr // whose blocks they are of; guarded by mu
	retired [][]byte             // to be used again; guarded by mu
}

func newBuffers(s *Session) *buffers {
	return &buffers{session: s, pieces: make(map[int][]byte), givers: make(map[int][]netip.Addr)}
}

// gives notes who sends blocks of a piece.
func (b *buffers) gives(piece int, giver netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.givers[piece], giver) {
		b.givers[piece] = append(b.givers[piece], giver)
	}
}

// OpenTorrent is called once by the library.
func (b *buffers) OpenTorrent(context.Context, *metainfo.Info, metainfo.Hash) (storage.TorrentImpl, error) {
	return storage.TorrentImpl{
		Piece:     func(p metainfo.Piece) storage.PieceImpl { return buffer{b, p} },
		NewReader: func() storage.TorrentReader { return storeReader{b.session.cfg.Store} },
		Close:     func() error { return nil },
	}, nil
}

// take removes and returns the bytes of an unfinished piece, nil if none came,
// and who has sent them.
func (b *buffers) take(piece int) ([]byte, []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, givers := b.pieces[piece], b.givers[piece]
	delete(b.pieces, piece)
	delete(b.givers, piece)
	return data, givers
}

// retire keeps memory for the next pieces.
func (b *buffers) retire(data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if data != nil && len(b.retired) < spareBuffers {
		b.retired = append(b.retired, data[:cap(data)])
	}
}

// spareBuffers is how many buffers wait for the next piece: 2 MiB instead of
// garbage at the speed of the link.
const spareBuffers = 8

// gather returns the buffer of an unfinished piece, nil if the piece came by
// another way in the meantime.
func (b *buffers) gather(piece, size int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.cfg.Store.Has(piece) {
		return nil
	}
	data := b.pieces[piece]
	if data == nil {
		if n := len(b.retired); n > 0 {
			data, b.retired = b.retired[n-1][:size], b.retired[:n-1]
		} else {
			data = make([]byte, size, b.session.cfg.Pieces.Length)
		}
		b.pieces[piece] = data
	}
	return data
}

// A buffer is one piece of buffers.
type buffer struct {
	*buffers
	metainfo.Piece
}

// WriteAt takes one block.
func (b buffer) WriteAt(block []byte, off int64) (int, error) {
	if data := b.gather(b.Index(), b.session.cfg.Pieces.Len(b.Index())); data != nil {
		copy(data[off:], block)
	}
	return len(block), nil
}

// SelfHash is the library's question whether the piece is right, by its SHA-1.
// The answer comes from the Store, which checks the SHA-256 and keeps the piece.
func (b buffer) SelfHash() (metainfo.Hash, error) {
	piece := b.Index()
	data, givers := b.take(piece)
	if data == nil {
		if b.session.cfg.Store.Has(piece) {
			return b.V1Hash().Value, nil
		}
		return metainfo.Hash{}, fmt.Errorf("piece %d: nothing came", piece)
	}
	err := b.session.cfg.Store.Put(piece, data)
	b.retire(data)
	switch {
	case errors.Is(err, images.ErrBadPiece):
		b.session.rejected.Add(1)
		b.session.post(func() { b.session.failed(piece, givers) })
		return metainfo.Hash{}, err // as an error, so that the library blames nobody: failed knows who it was
	case err != nil:
		b.session.post(func() { b.session.broken(fmt.Errorf("store piece %d: %w", piece, err)) })
		return metainfo.Hash{}, err
	}
	b.session.post(func() { b.session.done(piece) })
	return b.V1Hash().Value, nil
}

// ReadAt is for pieces that are complete; the library reads no others.
func (b buffer) ReadAt(p []byte, off int64) (int, error) {
	return b.session.cfg.Store.ReadAt(p, b.Offset()+off)
}

func (b buffer) Completion() storage.Completion {
	return storage.Completion{Complete: b.session.cfg.Store.Has(b.Index()), Ok: true}
}

func (b buffer) MarkComplete() error    { return nil }
func (b buffer) MarkNotComplete() error { return nil }

// storeReader reads across pieces for uploads.
type storeReader struct{ io.ReaderAt }

func (storeReader) Close() error { return nil }
