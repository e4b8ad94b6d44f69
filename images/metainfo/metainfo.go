// Package metainfo turns a root file into pieces and a torrent, and checks that
// a torrent belongs to the pieces that a signed manifest names.
//
// The torrent is BitTorrent v1 (BEP 3), private (BEP 27), holds one file and
// names no tracker: machines learn the tracker from their boot description.
// Its SHA-1 hashes only keep the wire protocol happy; what is trusted are the
// SHA-256 hashes of images.Pieces.
//
// builder calls Hash; swarm and tracker call Parse.
package metainfo

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"

	"swarmboot/images"
)

// Hash reads r, which holds size bytes, once. It returns the pieces of the file
// and its torrent, in which the file is called name. The same bytes and name
// always give the same torrent. Progress, unless nil, is told after each piece
// how many bytes have been hashed.
func Hash(r io.Reader, name string, size, pieceLength int64, progress func(n int64)) (images.Pieces, []byte, error) {
	fail := func(err error) (images.Pieces, []byte, error) {
		return images.Pieces{}, nil, fmt.Errorf("hash %s: %w", name, err)
	}
	if size <= 0 || pieceLength < images.MinPieceLength || pieceLength > images.MaxPieceLength || pieceLength&(pieceLength-1) != 0 {
		return fail(fmt.Errorf("%d bytes in pieces of %d: want a file that is not empty and a power of two from %d to %d",
			size, pieceLength, images.MinPieceLength, images.MaxPieceLength))
	}
	pieces := images.Pieces{Size: size, Length: pieceLength}
	private := true
	info := metainfo.Info{Name: name, Length: size, PieceLength: pieceLength, Private: &private}
	buf := make([]byte, pieceLength)
	for i := range pieces.Count() {
		piece := buf[:pieces.Len(i)]
		if _, err := io.ReadFull(r, piece); err != nil {
			return fail(fmt.Errorf("piece %d: %w", i, err))
		}
		strong, wire := sha256.Sum256(piece), sha1.Sum(piece)
		pieces.SHA256 = append(pieces.SHA256, strong[:]...)
		info.Pieces = append(info.Pieces, wire[:]...)
		if progress != nil {
			progress(pieces.Offset(i) + int64(len(piece)))
		}
	}
	if n, err := r.Read(buf[:1]); n > 0 || err != io.EOF {
		return fail(fmt.Errorf("the file goes on after %d bytes", size))
	}
	infoBytes, err := bencode.Marshal(info)
	if err != nil {
		return fail(err)
	}
	torrent, err := bencode.Marshal(metainfo.MetaInfo{InfoBytes: infoBytes})
	if err != nil {
		return fail(err)
	}
	return pieces, torrent, nil
}

// Parse checks that torrent is what Hash makes for pieces and returns its
// infohash, the name of the swarm.
func Parse(torrent []byte, pieces images.Pieces) (infohash [sha1.Size]byte, err error) {
	meta, err := metainfo.Load(bytes.NewReader(torrent))
	if err != nil {
		return infohash, fmt.Errorf("torrent: %w", err)
	}
	info, err := meta.UnmarshalInfo()
	if err != nil {
		return infohash, fmt.Errorf("torrent: %w", err)
	}
	if err := fits(info, pieces); err != nil {
		return infohash, fmt.Errorf("torrent %q: %w", info.Name, err)
	}
	return meta.HashInfoBytes(), nil
}

func fits(info metainfo.Info, pieces images.Pieces) error {
	switch {
	case info.Private == nil || !*info.Private:
		return errors.New("not private, so its peers would be told to strangers")
	case len(info.Files) != 0 || info.MetaVersion != 0:
		return errors.New("want BitTorrent v1 with one file")
	case info.Length != pieces.Size || info.PieceLength != pieces.Length:
		return fmt.Errorf("%d bytes in pieces of %d; the manifest says %d in pieces of %d",
			info.Length, info.PieceLength, pieces.Size, pieces.Length)
	case len(info.Pieces) != pieces.Count()*sha1.Size:
		return fmt.Errorf("%d bytes of piece hashes for %d pieces", len(info.Pieces), pieces.Count())
	}
	return nil
}
