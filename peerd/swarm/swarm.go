// Package swarm fetches, checks and serves the pieces of one image: the peer
// engine of a machine (peerd's engine process) and, with a complete Store, of
// the seeder inside the boot server.
//
// Peers speak BitTorrent (BEP 3) with its fast extension and the extension
// protocol (BEP 6, BEP 10), over TCP. Which piece to fetch next and from whom is
// decided by package schedule. The exchange is our own: a torrent library that
// was led from outside cost half as much time again, twelve megabytes of program,
// and chose itself how much it asked of whom.
//
// The road of a piece: a message (conn.go, wire.go) reaches the Session's
// goroutine (session.go), schedule decides whom to ask; when that peer says that
// it's our turn (uplink.go), the connection asks for the blocks that are missing
// (conn.go) and reads them into memory (assembly.go), and the Store verifies the
// SHA-256 of the whole piece; only then is it announced. port.go takes and makes
// connections, peers.go knows whom to dial.
package swarm

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"swarmboot/images"
)

// A Store keeps the verified pieces of one image. All methods may be called
// from several goroutines.
type Store interface {
	io.ReaderAt // of verified bytes only; others are an error

	// Has tells whether a piece is there and verified.
	Has(piece int) bool

	// Put verifies a whole piece and keeps it. It returns images.ErrBadPiece
	// if the bytes are not those of the manifest; any other error means that
	// the store is broken and ends the session. A piece put twice is kept once.
	// data is the caller's again when Put returns.
	Put(piece int, data []byte) error
}

// Config says what a Session serves and where.
type Config struct {
	Pieces  images.Pieces
	Torrent []byte           // the metainfo file (BEP 3) that belongs to Pieces
	Store   Store            // complete in a seeder
	Listen  netip.AddrPort   // TCP; connections go out from this address too
	Tracker string           // announce URL; empty: peers come from elsewhere
	Seeder  netip.AddrPort   // the boot server's seeder, for when the tracker hands it out, or a read waits; zero: this is the seeder
	Peers   []netip.AddrPort // machines to begin with, besides those that the tracker names
	Rack    string           // where the machine stands; machines of one rack are near each other
	Profile []int            // pieces in the order in which a recorded boot read them
	Drafts  []Draft          // what is known of pieces that are not in the store; theirs is the session's from then on
	Log     *slog.Logger     // nil: slog.Default()
}

// A Draft is a piece of which some blocks are known: only the others are fetched.
// It is verified as a piece that has come whole, and if it is wrong, fetched whole.
type Draft struct {
	Piece int
	Data  []byte // of the whole piece
	Known []bool // by block of delta.BlockLength
}

// Validate names every problem of c at once.
func (c Config) Validate() error {
	var errs []error
	if len(c.Torrent) == 0 {
		errs = append(errs, errors.New("swarm: no torrent given"))
	}
	if c.Store == nil {
		errs = append(errs, errors.New("swarm: no store given"))
	}
	if !c.Listen.IsValid() {
		errs = append(errs, errors.New("swarm: no address to listen on given"))
	}
	for _, piece := range c.Profile {
		if piece < 0 || piece >= c.Pieces.Count() {
			errs = append(errs, fmt.Errorf("swarm: profile names piece %d of %d", piece, c.Pieces.Count()))
			break
		}
	}
	for _, d := range c.Drafts {
		if d.Piece < 0 || d.Piece >= c.Pieces.Count() || len(d.Data) != c.Pieces.Len(d.Piece) || len(d.Known) != blockCount(len(d.Data)) {
			errs = append(errs, fmt.Errorf("swarm: draft of piece %d has %d bytes, and tells of %d blocks", d.Piece, len(d.Data), len(d.Known)))
		}
	}
	return errors.Join(errs...)
}

// A Pace is how hard the pieces that nothing waits for are fetched.
type Pace int

const (
	Needed Pace = iota // not at all, while the machine boots: others' reads would wait for their links
	Full               // as fast as it goes
)

// Stats counts what a Session has done since it began.
type Stats struct {
	Peers      int   // connected now
	FromPeers  int64 // useful bytes fetched from machines
	FromFar    int64 // of these, from machines in other racks
	FromServer int64 // useful bytes fetched from the seeder
	Uploaded   int64 // bytes of pieces sent
	Duplicates int64 // bytes of pieces that came more than once
	Rejected   int   // pieces that failed the check
}

// A Connection is one that a Session has with a peer, and the useful bytes that it
// has brought and taken.
type Connection struct {
	Peer           netip.Addr
	Seeder         bool // the peer is the boot server's
	Far            bool // it is a machine in another rack
	Received, Sent int64
}
