package swarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/torrent"
	tmeta "github.com/anacrolix/torrent/metainfo"
	pp "github.com/anacrolix/torrent/peer_protocol"
	"github.com/anacrolix/torrent/storage"

	"swarmboot/images/metainfo"
)

// A Port is a TCP port that the sessions of several images share: the seeder's.
// A machine, which has one image, calls New.
type Port struct {
	log      *slog.Logger
	listener net.Listener
	client   *torrent.Client

	mu       sync.Mutex
	sessions map[[20]byte]*Session // by infohash; guarded by mu
}

// OpenPort listens on an address. Connections go out from this address too.
func OpenPort(listen netip.AddrPort, log *slog.Logger) (*Port, error) {
	return openPort(listen, log, nil)
}

// openPort also lets tests put a slow link under each connection.
func openPort(listen netip.AddrPort, log *slog.Logger, link func(net.Conn) net.Conn) (*Port, error) {
	log = cmp.Or(log, slog.Default())
	// TCP's keep-alive finds a machine that lost power within 11 s.
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
	l, err := (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen(context.Background(), network(listen), listen.String())
	if err != nil {
		return nil, fmt.Errorf("swarm: %w", err)
	}
	dial := net.Dialer{KeepAliveConfig: keepAlive}
	if !listen.Addr().IsUnspecified() {
		dial.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(listen.Addr(), 0))
	}
	p := &Port{log: log, listener: l, sessions: make(map[[20]byte]*Session)}
	config := p.config()
	config.TrackerDialContext = dial.DialContext // the tracker takes our address from the connection
	p.client, err = torrent.NewClient(config)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("swarm: start torrent client: %w", err)
	}
	if link == nil {
		link = func(c net.Conn) net.Conn { return c }
	}
	wrap := func(c net.Conn) net.Conn { return newConn(link(c), p.session) }
	p.client.AddDialer(dialer{dial, network(listen), wrap})
	p.client.AddListener(listener{l, wrap})
	return p, nil
}

// config is the library reduced to what a data centre needs: TCP without
// obfuscation, and peers from the tracker alone.
func (p *Port) config() *torrent.ClientConfig {
	c := torrent.NewDefaultClientConfig()
	c.Slogger = slog.New(debugOnly{p.log.Handler()})
	c.DisableTCP, c.DisableUTP = true, true // listener and dialer are ours, see openPort
	c.NoDHT, c.DisablePEX, c.NoDefaultPortForwarding = true, true, true
	c.DisableWebtorrent, c.DisableWebseeds = true, true
	c.DefaultStorage = noStorage{} // else it opens a database of pieces in the working folder
	c.DisableIPv6 = p.addr().Addr().Is4()
	c.HeaderObfuscationPolicy = torrent.HeaderObfuscationPolicy{RequirePreferred: true}
	c.Seed = true                       // else uploads follow downloads
	c.DropMutuallyCompletePeers = false // the library doesn't know what peers have
	c.DropDuplicatePeerIds = true       // two machines often dial each other at once
	c.MaxUnverifiedBytes = 0            // its scan would end before the piece that we reveal
	c.MaxAllocPeerRequestDataPerConn = 512 << 10
	c.DialRateLimiter.SetLimit(100)
	c.TorrentPeersLowWater = 1000 // take all that the tracker tells
	c.EstablishedConnsPerTorrent = 50
	c.Callbacks = torrent.Callbacks{
		PeerConnAdded:         []func(*torrent.PeerConn){p.adopted},
		ReadExtendedHandshake: capQueue,
		ReceivedUsefulData:    []func(torrent.ReceivedUsefulDataEvent){p.received},
		PeerConnReadExtensionMessage: []func(torrent.PeerConnReadExtensionMessageEvent){
			p.heard,
		},
	}
	return c
}

// maxRequests is how many blocks the library may ask a peer for at once. With
// pieces of up to 512 KiB our own queueBytes is the narrower limit.
const maxRequests = 64

func capQueue(_ *torrent.PeerConn, m *pp.ExtendedHandshakeMessage) {
	m.Reqq = min(cmp.Or(m.Reqq, maxRequests), maxRequests)
}

// Join makes a session of the port; Config.Listen is not looked at. The
// session's Run takes part in the swarm.
func (p *Port) Join(cfg Config) (*Session, error) {
	cfg.Listen = p.addr()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	infohash, err := metainfo.Parse(cfg.Torrent, cfg.Pieces)
	if err != nil {
		return nil, fmt.Errorf("swarm: %w", err)
	}
	s := newSession(p, cfg, infohash)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[infohash] != nil {
		return nil, fmt.Errorf("swarm: a session of torrent %x is open", infohash)
	}
	p.sessions[infohash] = s
	return s, nil
}

// Close ends the port and all its connections. Sessions must have ended.
func (p *Port) Close() error {
	errs := p.client.Close()
	return errors.Join(append(errs, p.listener.Close())...)
}

// Addr is where the port listens.
func (p *Port) Addr() netip.AddrPort { return p.addr() }

func (p *Port) addr() netip.AddrPort {
	a := p.listener.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// session finds a session by its infohash.
func (p *Port) session(infohash [20]byte) *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions[infohash]
}

// leave forgets a session that has ended.
func (p *Port) leave(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s.infohash)
}

// The library calls the following with its lock held; they must not wait for a
// session.

func (p *Port) adopted(peer *torrent.PeerConn) {
	protocols := *peer.LocalLtepProtocolMap
	protocols.Index = append([]pp.ExtensionName(nil), protocols.Index...)
	protocols.AddUserProtocol(fetchingProtocol)
	peer.LocalLtepProtocolMap = &protocols
	if s := p.session(peer.Torrent().InfoHash()); s != nil {
		s.post(func() { s.adopted(peer) })
	}
}

func (p *Port) received(e torrent.ReceivedUsefulDataEvent) {
	if s := p.session(e.Peer.Torrent().InfoHash()); s != nil {
		s.count(e.Peer.RemoteAddr.String(), len(e.Message.Piece))
	}
}

func (p *Port) heard(e torrent.PeerConnReadExtensionMessageEvent) {
	if e.ExtensionNumber == pp.HandshakeExtendedID {
		return
	}
	name, _, err := e.PeerConn.LocalLtepProtocolMap.LookupId(e.ExtensionNumber)
	if err != nil || name != fetchingProtocol {
		return
	}
	if s := p.session(e.PeerConn.Torrent().InfoHash()); s != nil {
		s.heard(e.Payload)
	}
}

// noStorage is the storage of torrents that bring none: there are none.
type noStorage struct{}

func (noStorage) OpenTorrent(context.Context, *tmeta.Info, tmeta.Hash) (storage.TorrentImpl, error) {
	return storage.TorrentImpl{}, errors.New("torrent without storage")
}

func network(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// A listener wraps what it accepts.
type listener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// A dialer wraps what it dials.
type dialer struct {
	net.Dialer
	network string
	wrap    func(net.Conn) net.Conn
}

func (d dialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, d.network, addr)
	if err != nil {
		return nil, err
	}
	return d.wrap(c), nil
}

func (d dialer) DialerNetwork() string { return d.network }

// debugOnly shows the library's messages at debug level, whatever it thinks of
// them: a peer that goes away is not an event for an admin.
type debugOnly struct{ slog.Handler }

func (h debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h debugOnly) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

func (h debugOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugOnly{h.Handler.WithAttrs(attrs)}
}

func (h debugOnly) WithGroup(name string) slog.Handler {
	return debugOnly{h.Handler.WithGroup(name)}
}
