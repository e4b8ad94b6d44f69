package swarm

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"
	pp "github.com/anacrolix/torrent/peer_protocol"

	"swarmboot/peerd/swarm/schedule"
)

// fetchingProtocol is an extension message (BEP 10) between machines: the four
// bytes are a piece that the sender is fetching from the seeder. Others who need
// it wait for the sender to have it. Without it, machines that boot in step ask
// the seeder for the same pieces at the same moment.
const fetchingProtocol pp.ExtensionName = "swarmboot_fetching"

const (
	// tick is how often deadlines are looked at; all else is driven by events.
	tick = 50 * time.Millisecond

	// silence is how long a peer may send nothing of what it was asked for. It
	// has at most a few blocks to send; at 1 Mbit/s one takes 0.13 s.
	silence = 5 * time.Second

	// redial is how long after losing the seeder it's dialled again.
	redial = time.Second

	// strikes is how many damaged pieces a machine may send. One may have been
	// damaged in its memory or on the way.
	strikes = 2
)

// A Session is this computer's part in the swarm of one image. All that happens
// becomes a function in its inbox and is done by the one goroutine of Run, which
// alone touches the fields of state.
type Session struct {
	port     *Port
	own      bool // the port is this session's alone
	cfg      Config
	infohash [20]byte
	buffers  *buffers
	torrent  *torrent.Torrent

	inbox struct {
		sync.Mutex
		todo []func()      // guarded by Mutex
		wake chan struct{} // holds one token when todo isn't empty
	}

	fromPeers, fromServer, rejected atomic.Int64
	peers                           atomic.Int64

	// State of Run's goroutine.
	schedule *schedule.Schedule
	arriving map[string]*conn // not yet adopted by the library, by remote address
	conns    map[schedule.Peer]*conn
	nextID   schedule.Peer
	strikes  map[netip.Addr]int
	dialled  time.Time // when the seeder was last dialled
	err      error     // why the session ends by itself
}

// libraryPeer is what a session needs of torrent.PeerConn.
type libraryPeer interface {
	Close() error
	WriteExtendedMessage(name pp.ExtensionName, payload []byte) error
}

// New opens the port of a session. Run must be called to work and to close it.
func New(cfg Config) (*Session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return newAlone(cfg, nil)
}

// newAlone opens a port for one session; link is as in openPort.
func newAlone(cfg Config, link func(net.Conn) net.Conn) (*Session, error) {
	port, err := openPort(cfg.Listen, cfg.Log, link)
	if err != nil {
		return nil, err
	}
	s, err := port.Join(cfg)
	if err != nil {
		port.Close()
		return nil, err
	}
	s.own = true
	return s, nil
}

func newSession(p *Port, cfg Config, infohash [20]byte) *Session {
	s := &Session{
		port:     p,
		cfg:      cfg,
		infohash: infohash,
		schedule: schedule.New(cfg.Pieces.Count(), cfg.Profile, rand.Uint64()),
		arriving: make(map[string]*conn),
		conns:    make(map[schedule.Peer]*conn),
		strikes:  make(map[netip.Addr]int),
	}
	s.buffers = newBuffers(s)
	s.inbox.wake = make(chan struct{}, 1)
	for piece := range cfg.Pieces.Count() {
		if cfg.Store.Has(piece) {
			s.schedule.Have(piece)
		}
	}
	if s.cfg.Log == nil {
		s.cfg.Log = slog.Default()
	}
	return s
}

// Run fetches and serves until ctx is done or the store fails, and returns
// after all it started has ended. A requested stop is not an error.
func (s *Session) Run(ctx context.Context) error {
	defer s.close()
	if err := s.start(); err != nil {
		return err
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for s.err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-s.inbox.wake:
			s.work()
		case now := <-ticks.C:
			s.watch(now)
			if s.schedule.Complete() {
				ticks.Reset(redial)
			}
		}
		s.fetch()
	}
	return s.err
}

// start adds the torrent to the library and looks for peers.
func (s *Session) start() error {
	var meta metainfo.MetaInfo
	if err := bencode.Unmarshal(s.cfg.Torrent, &meta); err != nil {
		return fmt.Errorf("swarm: torrent: %w", err)
	}
	s.torrent, _ = s.port.client.AddTorrentOpt(torrent.AddTorrentOpts{
		InfoHash:                 s.infohash,
		InfoBytes:                meta.InfoBytes,
		Storage:                  s.buffers,
		DisableInitialPieceCheck: true,
	})
	if s.torrent.Info() == nil {
		return fmt.Errorf("swarm: the torrent client refuses torrent %x", s.infohash)
	}
	if !s.cfg.Seeder.IsValid() {
		s.torrent.SetMaxEstablishedConns(seederConns)
	}
	s.torrent.DownloadAll() // from nobody yet: see conn
	s.watch(time.Now())
	for _, peer := range s.cfg.Peers {
		s.torrent.AddPeers([]torrent.PeerInfo{{Addr: peer, Source: torrent.PeerSourceDirect}})
	}
	if s.cfg.Tracker != "" {
		s.torrent.AddTrackers([][]string{{s.cfg.Tracker}})
	}
	return nil
}

// seederConns lets a few racks fetch from the seeder at once. Machines have
// fewer, as the exchange among them needs no more.
const seederConns = 1000

// close ends what start began.
func (s *Session) close() {
	s.port.leave(s)
	if s.own {
		s.port.Close()
	} else if s.torrent != nil {
		s.torrent.Drop()
	}
}

// Addr is where the session listens.
func (s *Session) Addr() netip.AddrPort { return s.port.Addr() }

// Demand replaces the set of pieces that reads wait for.
func (s *Session) Demand(pieces []int) {
	pieces = append([]int(nil), pieces...)
	s.post(func() { s.schedule.Demand(pieces, time.Now()) })
}

// Elsewhere replaces the set of pieces that come by another way and are not to
// be fetched, even if a read waits for them.
func (s *Session) Elsewhere(pieces []int) {
	pieces = append([]int(nil), pieces...)
	s.post(func() { s.schedule.Elsewhere(pieces) })
}

// Have tells that a piece has reached the store by another way; it is announced
// to the peers.
func (s *Session) Have(piece int) {
	if piece < 0 || piece >= s.cfg.Pieces.Count() {
		return
	}
	s.post(func() {
		s.torrent.Piece(piece).UpdateCompletion()
		s.buffers.take(piece)
		s.done(piece)
	})
}

// SetPace says how hard to fetch what nothing waits for. A session begins with
// Trickle.
func (s *Session) SetPace(p Pace) {
	s.post(func() { s.schedule.SetFull(p == Full) })
}

// Stats tells what the session has done so far.
func (s *Session) Stats() Stats {
	stats := Stats{
		Peers:      int(s.peers.Load()),
		FromPeers:  s.fromPeers.Load(),
		FromServer: s.fromServer.Load(),
		Rejected:   int(s.rejected.Load()),
	}
	if t, ok := s.port.client.Torrent(s.infohash); ok {
		wire := t.Stats()
		stats.Uploaded = wire.BytesWrittenData.Int64()
		stats.Duplicates = wire.BytesReadData.Int64() - wire.BytesReadUsefulData.Int64()
	}
	return stats
}

// post puts something to do into the inbox. It never waits.
func (s *Session) post(f func()) {
	s.inbox.Lock()
	s.inbox.todo = append(s.inbox.todo, f)
	s.inbox.Unlock()
	select {
	case s.inbox.wake <- struct{}{}:
	default:
	}
}

// work does what is in the inbox.
func (s *Session) work() {
	s.inbox.Lock()
	todo := s.inbox.todo
	s.inbox.todo = nil
	s.inbox.Unlock()
	for _, f := range todo {
		f()
	}
}

// fetch does what the schedule decides.
func (s *Session) fetch() {
	now := time.Now()
	for {
		f, ok := s.schedule.Next(now, func(id schedule.Peer) bool { return s.conns[id].ready() })
		if !ok {
			return
		}
		c := s.conns[f.Peer]
		if f.Demand {
			s.torrent.Piece(f.Piece).SetPriority(torrent.PiecePriorityNow)
		}
		c.reveal(f.Piece, s.cfg.Pieces.Len(f.Piece))
		if c.seeder {
			s.tell(f.Piece)
		}
	}
}

// tell lets the machines know which piece we're fetching from the seeder.
func (s *Session) tell(piece int) {
	payload := binary.BigEndian.AppendUint32(nil, uint32(piece))
	for _, c := range s.conns {
		if !c.seeder {
			c.peer.WriteExtendedMessage(fetchingProtocol, payload) // an error: the peer has no such protocol, or not yet
		}
	}
}

// heard takes what another machine told.
func (s *Session) heard(payload []byte) {
	if len(payload) != 4 {
		return
	}
	piece := int(binary.BigEndian.Uint32(payload))
	s.post(func() { s.schedule.Coming(piece, time.Now()) })
}

// watch looks after what no event tells: peers that have fallen silent, and the
// seeder that must be dialled again.
func (s *Session) watch(now time.Time) {
	connected := !s.cfg.Seeder.IsValid()
	for _, c := range s.conns {
		connected = connected || c.seeder
		if c.silent(now) > silence {
			s.cfg.Log.Info("peer is silent", "peer", c.RemoteAddr())
			c.peer.Close()
		}
	}
	if !connected && !s.schedule.Complete() && now.Sub(s.dialled) >= redial {
		s.dialled = now
		s.torrent.AddPeers([]torrent.PeerInfo{{
			Addr: s.cfg.Seeder, Source: torrent.PeerSourceDirect, Trusted: true,
		}})
	}
}

// joined takes a connection whose handshake is over.
func (s *Session) joined(c *conn) {
	s.arriving[c.RemoteAddr().String()] = c
}

// adopted takes the library's view of a connection that it has accepted.
func (s *Session) adopted(peer *torrent.PeerConn) {
	remote := peer.RemoteAddr.String()
	c := s.arriving[remote]
	if c == nil {
		return // closed in the meantime
	}
	delete(s.arriving, remote)
	if s.strikes[address(remote)] >= strikes {
		peer.Close()
		return
	}
	c.id, c.peer, c.seeder = s.nextID, peer, s.isSeeder(remote)
	s.nextID++
	s.conns[c.id] = c
	s.peers.Store(int64(len(s.conns)))
	s.schedule.Join(c.id, c.seeder)
}

// offered takes what a peer says about its pieces.
func (s *Session) offered(c *conn, pieces []int) {
	if s.conns[c.id] != c {
		return
	}
	for _, piece := range pieces {
		s.schedule.Offers(c.id, piece)
	}
}

// left takes a connection that is closed.
func (s *Session) left(c *conn) {
	if remote := c.RemoteAddr().String(); s.arriving[remote] == c {
		delete(s.arriving, remote)
	}
	if s.conns[c.id] != c {
		return
	}
	delete(s.conns, c.id)
	s.peers.Store(int64(len(s.conns)))
	s.schedule.Leave(c.id)
}

// done takes a piece that is in the store.
func (s *Session) done(piece int) {
	for _, id := range s.schedule.Asked(piece) {
		s.conns[id].forget(piece)
	}
	s.schedule.Have(piece)
}

// failed takes a piece that came damaged. If one peer has sent all of it, that
// one is dropped; after the second time it stays away, unless it's the seeder,
// which is dialled again. A piece of several peers' blocks tells nothing about
// any of them; it is fetched anew.
func (s *Session) failed(piece int, givers []netip.Addr) {
	s.cfg.Log.Warn("piece came damaged", "piece", piece, "peer", givers)
	if len(givers) == 1 {
		for _, c := range s.conns {
			if c.address == givers[0] {
				c.peer.Close()
			}
		}
		if givers[0] != s.cfg.Seeder.Addr().Unmap() {
			s.strikes[givers[0]]++
		}
	}
	s.schedule.Failed(piece, time.Now())
}

// broken ends the session.
func (s *Session) broken(err error) { s.err = err }

// count notes useful bytes. The library calls it.
func (s *Session) count(remote string, n int) {
	if s.isSeeder(remote) {
		s.fromServer.Add(int64(n))
	} else {
		s.fromPeers.Add(int64(n))
	}
}

// isSeeder tells whether a remote address is the seeder's.
func (s *Session) isSeeder(remote string) bool {
	return s.cfg.Seeder.IsValid() && address(remote) == s.cfg.Seeder.Addr().Unmap()
}

// address is the host of a remote address; the port of an incoming connection
// says nothing.
func address(remote string) netip.Addr {
	a, _ := netip.ParseAddrPort(remote)
	return a.Addr().Unmap()
}
