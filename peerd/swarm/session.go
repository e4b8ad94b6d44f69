package swarm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"swarmboot/images"
	"swarmboot/peerd/swarm/schedule"
)

const (
	// tick is how often deadlines are looked at; all else is driven by events.
	tick = 50 * time.Millisecond

	// silence is how long a peer that owes us an answer may send nothing, or leave
	// what we send without an answer of its kernel, until its connection ends. Others
	// are asked long before (schedule.Patience).
	silence = 5 * time.Second

	// judges is how many pieces are checked at the same time.
	judges = 2
)

// A Session is this computer's part in the swarm of one image. All that happens
// becomes a function in its inbox and is done by the one goroutine of Run, which
// alone touches the fields of state.
type Session struct {
	port     *Port
	own      bool // the port is this session's alone
	cfg      Config
	log      *slog.Logger
	infohash [20]byte
	peerID   [20]byte
	assembly *assembly
	gifts    *gifts           // of a seeder; nil for a machine
	whole    chan *unfinished // pieces for the judges
	complete chan struct{}    // closed when no piece is missing
	bans     *bans

	inbox struct {
		sync.Mutex
		todo []func()      // guarded by Mutex
		wake chan struct{} // holds one token when todo isn't empty
	}

	peers                 atomic.Int64
	fromPeers, fromServer atomic.Int64 // bytes
	fromFar               atomic.Int64 // bytes
	uploaded, duplicates  atomic.Int64 // bytes
	rejected              atomic.Int64

	ctx context.Context // done when the session ends
	wg  sync.WaitGroup  // of all that the session has started

	mu   sync.Mutex
	open map[*conn]struct{} // nil unless the session runs; guarded by mu

	// State of Run's goroutine.
	schedule   *schedule.Schedule
	conns      map[schedule.Peer]*conn
	turned     []*conn // that may have given us turns
	nextID     schedule.Peer
	candidates map[netip.AddrPort]*candidate
	begun      time.Time
	moved      time.Time // when a piece last came
	watched    time.Time // when watch last looked
	answered   bool      // by the tracker
	handed     bool      // the seeder is ours to dial
	err        error     // why the session ends by itself
}

// gifts is a seeder's memory of them, for its connections.
type gifts struct {
	sync.Mutex
	given *schedule.Gifts[netip.Addr] // guarded by Mutex
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
		port: p, cfg: cfg, log: cfg.Log, infohash: infohash, peerID: newPeerID(cfg.Rack),
		assembly: newAssembly(cfg.Pieces.Len), whole: make(chan *unfinished), complete: make(chan struct{}),
		schedule: schedule.New(cfg.Pieces.Count(), cfg.Profile, rand.Uint64()), conns: make(map[schedule.Peer]*conn),
		candidates: make(map[netip.AddrPort]*candidate), bans: newBans(),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if !cfg.Seeder.IsValid() {
		s.gifts = &gifts{given: schedule.NewGifts[netip.Addr](cfg.Pieces.Count())}
	}
	s.inbox.wake = make(chan struct{}, 1)
	for piece := range cfg.Pieces.Count() {
		if cfg.Store.Has(piece) {
			s.have(piece)
		}
	}
	for _, d := range cfg.Drafts {
		if !cfg.Store.Has(d.Piece) {
			s.assembly.begin(d)
		}
	}
	return s
}

// Run fetches and serves until ctx is done or the store fails, and returns
// after all it started has ended. A requested stop is not an error.
func (s *Session) Run(ctx context.Context) error {
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(ctx)
	defer s.close(cancel)
	s.start()
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

// start lets connections in and looks for peers.
func (s *Session) start() {
	s.mu.Lock()
	s.open = make(map[*conn]struct{})
	s.mu.Unlock()
	for range judges {
		s.wg.Go(s.judgeAll)
	}
	s.begun = time.Now()
	s.moved = s.begun
	if s.cfg.Seeder.IsValid() {
		s.candidates[s.cfg.Seeder] = &candidate{}
	}
	s.handed = s.cfg.Tracker == ""
	s.known(s.cfg.Peers...)
	if s.cfg.Tracker != "" {
		s.wg.Go(func() { s.announce(s.ctx) })
	}
}

// close ends what start began.
func (s *Session) close(cancel context.CancelFunc) {
	cancel()
	s.port.leave(s)
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.wg.Wait()
	if s.own {
		s.port.Close()
	}
}

// attach takes a connection whose handshake is over.
func (s *Session) attach(raw net.Conn, theirs handshake, dialled bool) error {
	c := newConn(raw, s, theirs.peerID, dialled)
	if theirs.extended {
		c.out = appendExtensions(c.out)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		raw.Close()
		return errors.New("the session doesn't run")
	}
	s.open[c] = struct{}{}
	s.post(func() { s.joined(c) })
	s.wg.Go(func() {
		c.run()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
		s.post(func() { s.gone(c) })
	})
	return nil
}

// Addr is where the session listens.
func (s *Session) Addr() netip.AddrPort { return s.port.Addr() }

// Demand replaces the set of pieces that reads wait for.
func (s *Session) Demand(pieces []int) {
	pieces = slices.Clone(pieces)
	s.post(func() {
		s.schedule.Demand(pieces, time.Now())
	})
}

// Elsewhere replaces the set of pieces that come by another way and are not to
// be fetched, even if a read waits for them. left is called with those of them
// that aren't being fetched already; it must not wait for the session.
func (s *Session) Elsewhere(pieces []int, left func(pieces []int)) {
	pieces = slices.Clone(pieces)
	s.post(func() {
		s.schedule.Elsewhere(pieces)
		left(slices.DeleteFunc(slices.Clone(pieces), func(piece int) bool { return len(s.schedule.Asked(piece)) > 0 }))
	})
}

// Have tells that a piece has reached the store by another way; it is announced
// to the peers.
func (s *Session) Have(piece int) {
	if piece < 0 || piece >= s.cfg.Pieces.Count() {
		return
	}
	s.post(func() {
		s.assembly.drop(piece)
		s.done(piece)
	})
}

// SetPace says how hard to fetch what nothing waits for. A session begins with
// Needed.
func (s *Session) SetPace(p Pace) {
	s.post(func() { s.schedule.SetFull(p == Full) })
}

// Stats tells what the session has done so far.
func (s *Session) Stats() Stats {
	return Stats{
		Peers:      int(s.peers.Load()),
		FromPeers:  s.fromPeers.Load(),
		FromFar:    s.fromFar.Load(),
		FromServer: s.fromServer.Load(),
		Uploaded:   s.uploaded.Load(),
		Duplicates: s.duplicates.Load(),
		Rejected:   int(s.rejected.Load()),
	}
}

// Connections tells with whom the session is connected.
func (s *Session) Connections() []Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Connection, 0, len(s.open))
	for c := range s.open {
		all = append(all, Connection{Peer: c.address, Seeder: c.seeder, Far: c.far, Received: c.received.Load(), Sent: c.sent.Load()})
	}
	return all
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
			break
		}
		blocks := s.assembly.missing(f.Piece)
		if len(s.schedule.Asked(f.Piece)) > 1 {
			slices.Reverse(blocks) // so that two who give one piece meet in its middle
		}
		c := s.conns[f.Peer]
		c.use(f.Urgency)
		c.ask(blocks)
		if c.seeder || c.far {
			s.tell(f.Piece)
		}
	}
	keep := s.schedule.Keep()
	s.turned = slices.DeleteFunc(s.turned, func(c *conn) bool {
		if c.turns > 0 && keep >= c.turns && !c.far && !c.lost {
			keep -= c.turns
			return false
		}
		c.pass()
		return true
	})
	s.schedule.Wishes(now, func(id schedule.Peer, u schedule.Urgency) { s.conns[id].want(u) })
}

// tell lets the machines know which piece we're fetching from the seeder or
// from another rack; or, of the seeder, which one it gives, for few machines know
// the one that fetches it.
func (s *Session) tell(piece int) {
	for _, c := range s.conns {
		if !c.seeder && !c.has[piece] {
			c.sendOwn(fetchingNumber, binary.BigEndian.AppendUint32(nil, uint32(piece))...)
		}
	}
}

// watch looks after what no event tells: peers that have fallen silent, and
// those to be dialled again.
func (s *Session) watch(now time.Time) {
	if patience := s.schedule.Patience(); now.Sub(s.watched) < patience/2 {
		for _, c := range s.conns {
			s.doubt(c, now, patience)
		}
	} // else it was we who were silent
	s.watched = now
	s.port.uplink.expire(now)
	s.needSeeder(now)
	s.dialSome(now)
}

// doubt looks whether a peer lives. One that owes us an answer for longer than our
// patience is out of the schedule until it says something, so that others are asked
// for what it was giving, and for what it alone has; its connection stays.
func (s *Session) doubt(c *conn, now time.Time, patience time.Duration) {
	quiet := c.quiet(now)
	switch {
	case quiet >= silence:
		s.log.Info("peer is silent", "peer", c.RemoteAddr())
		c.Close()
	case c.lost && quiet < patience:
		c.lost = false
		s.enlist(c)
	case c.unchoked && !c.lost && quiet >= patience:
		c.lost = true
		s.schedule.Leave(c.id)
	}
	if quiet < patience/2 {
		c.remind(now, reminder)
	} else {
		c.remind(now, patience/2)
	}
}

// joined takes a new connection. Two machines often dial each other at once;
// then both keep the connection of the one with the higher peer id.
func (s *Session) joined(c *conn) {
	limit := machineConns
	if !s.cfg.Seeder.IsValid() {
		limit = seederConns
	}
	if c.peerID == s.peerID || len(s.conns) >= limit && !c.seeder {
		c.Close()
		return
	}
	c.banned = s.bans.has(c.address, time.Now())
	for _, other := range s.conns {
		if other.peerID != c.peerID {
			continue
		}
		higher := bytes.Compare(s.peerID[:], c.peerID[:]) > 0
		if other.dialled != c.dialled && c.dialled != higher {
			c.Close()
			return
		}
		s.gone(other)
		other.Close()
	}
	c.id = s.nextID
	s.nextID++
	s.conns[c.id] = c
	s.peers.Store(int64(len(s.conns)))
	c.send(appendMessage(appendMessage(appendPieces(nil, s.cfg.Pieces.Count(), s.cfg.Store.Has), msgUnchoke), msgInterested))
}

// coming takes a peer's word that it is fetching a piece from afar, or the
// seeder's that another machine is.
func (s *Session) coming(c *conn, piece int) {
	if !c.banned { // else it cannot pass it on
		s.schedule.Coming(c.id, piece, time.Now())
	}
}

// turn takes a turn that a peer gives us.
func (s *Session) turn(c *conn) {
	if s.conns[c.id] == c {
		if c.turns == 0 {
			s.turned = append(s.turned, c)
		}
		c.turns++
		c.wished = time.Now()
		c.wish = min(c.wish, schedule.Profile)
	}
}

// welcomed takes a peer's word that it will give what we ask for.
func (s *Session) welcomed(c *conn) {
	if s.conns[c.id] != c || c.unchoked || c.banned {
		return
	}
	c.unchoked = true
	s.enlist(c)
}

// enlist tells the schedule what a peer can give.
func (s *Session) enlist(c *conn) {
	s.schedule.Join(c.id, c.seeder)
	if c.far {
		s.schedule.Far(c.id)
	}
	for piece, has := range c.has {
		if has {
			s.schedule.Offers(c.id, piece)
		}
	}
}

// offered takes what a peer says about its pieces.
func (s *Session) offered(c *conn, pieces []int) {
	if s.conns[c.id] != c {
		return
	}
	for _, piece := range pieces {
		c.has[piece] = true
		if c.unchoked && !c.lost {
			s.schedule.Offers(c.id, piece)
		}
	}
}

// gone takes a connection that is closed.
func (s *Session) gone(c *conn) {
	if s.conns[c.id] != c {
		return
	}
	delete(s.conns, c.id)
	c.turns = 0
	s.peers.Store(int64(len(s.conns)))
	s.schedule.Leave(c.id)
}

// judge hands a piece to the judges. A connection waits here if the store is
// slower than the network.
func (s *Session) judge(u *unfinished) {
	select {
	case s.whole <- u:
	case <-s.ctx.Done():
	}
}

// judgeAll checks pieces and stores them until the session ends.
func (s *Session) judgeAll() {
	for {
		select {
		case u := <-s.whole:
			err := s.cfg.Store.Put(u.piece, u.data)
			s.post(func() { s.judged(u, err) })
		case <-s.ctx.Done():
			return
		}
	}
}

// judged takes what the store says about a piece.
func (s *Session) judged(u *unfinished, err error) {
	s.assembly.retire(u)
	switch {
	case err == nil:
		s.done(u.piece)
	case errors.Is(err, images.ErrBadPiece):
		s.rejected.Add(1)
		s.failed(u.piece, u.givers)
	default:
		s.err = fmt.Errorf("store piece %d: %w", u.piece, err)
	}
}

// done takes a piece that is in the store, and announces it to who needs it and
// to the seeder, which learns from it what has spread.
func (s *Session) done(piece int) {
	s.moved = time.Now()
	s.have(piece)
	for _, c := range s.conns {
		c.forget(piece)
		if c.seeder || !c.has[piece] {
			c.send(appendMessage(nil, msgHave, piece))
		}
	}
}

// heard tells when a machine last sent anything.
func (s *Session) heard(machine netip.Addr) (last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if c.address == machine {
			c.mu.Lock()
			if c.heard.After(last) {
				last = c.heard
			}
			c.mu.Unlock()
		}
	}
	return last
}

// have counts a piece that is in the store.
func (s *Session) have(piece int) {
	before := s.schedule.Complete()
	s.schedule.Have(piece)
	if s.schedule.Complete() && !before {
		close(s.complete)
	}
}

// left is how many bytes are missing.
func (s *Session) left() (n int64) {
	for piece := range s.cfg.Pieces.Count() {
		if !s.cfg.Store.Has(piece) {
			n += int64(s.cfg.Pieces.Len(piece))
		}
	}
	return n
}

// failed takes a piece that came damaged. If one peer has sent all of it, that
// one is dropped; after the second time it is banned, and the tracker told, unless
// it's the seeder, which is dialled again. A piece of several peers' blocks tells
// nothing about any of them; it is fetched anew.
func (s *Session) failed(piece int, givers []netip.Addr) {
	s.log.Warn("piece came damaged", "piece", piece, "peer", givers)
	for _, c := range s.conns {
		c.forget(piece)
	}
	s.schedule.Failed(piece, time.Now())
	if len(givers) != 1 {
		return
	}
	for _, c := range s.conns {
		if c.address == givers[0] {
			s.gone(c)
			c.Close()
		}
	}
	if givers[0] == s.cfg.Seeder.Addr().Unmap() {
		return
	}
	if s.bans.add(givers[0], time.Now()) {
		s.log.Warn("machine banned: it sends pieces that are not what was signed", "peer", givers[0])
	}
}

// count notes useful bytes.
func (s *Session) count(c *conn, n int) {
	c.received.Add(int64(n))
	switch {
	case c.seeder:
		s.fromServer.Add(int64(n))
	case c.far:
		s.fromFar.Add(int64(n))
		fallthrough
	default:
		s.fromPeers.Add(int64(n))
	}
}

// address is the host of a remote address; the port of an incoming connection
// says nothing.
func address(remote string) netip.Addr {
	a, _ := netip.ParseAddrPort(remote)
	return a.Addr().Unmap()
}
