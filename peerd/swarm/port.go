package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/images/metainfo"
)

// A Port is one TCP port where sessions of several images take connections.
type Port struct {
	log      *slog.Logger
	listener net.Listener
	dialer   net.Dialer
	link     func(net.Conn) net.Conn // for tests: a slow link under each connection
	uplink   *uplink
	wg       sync.WaitGroup

	mu       sync.Mutex
	sessions map[[20]byte]*Session // by infohash; guarded by mu
	greeting map[net.Conn]struct{} // connections in their handshake; guarded by mu
	closed   bool                  // guarded by mu
}

// greetTime is how long a handshake may take. Both sides have nothing else to
// do; a link that needs longer is of no use.
const greetTime = 10 * time.Second

// OpenPort listens.
func OpenPort(listen netip.AddrPort, log *slog.Logger) (*Port, error) {
	return openPort(listen, log, nil)
}

// openPort also lets tests put a slow link under each connection.
func openPort(listen netip.AddrPort, log *slog.Logger, link func(net.Conn) net.Conn) (*Port, error) {
	if log == nil {
		log = slog.Default()
	}
	if link == nil {
		link = func(c net.Conn) net.Conn { return c }
	}
	// A machine without power is found by this if nothing is on its way to it, and
	// else by silence.
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
	l, err := (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen(context.Background(), network(listen), listen.String())
	if err != nil {
		return nil, fmt.Errorf("swarm: %w", err)
	}
	p := &Port{
		log: log, listener: l, link: link,
		dialer: net.Dialer{KeepAliveConfig: keepAlive, Timeout: greetTime},
		uplink: newUplink(), sessions: make(map[[20]byte]*Session), greeting: make(map[net.Conn]struct{}),
	}
	if !listen.Addr().IsUnspecified() {
		p.dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(listen.Addr(), 0))
	}
	p.wg.Go(p.accept)
	return p, nil
}

// Join makes a session of the port; Config.Listen is not looked at. The
// session's Run takes part in the swarm.
func (p *Port) Join(cfg Config) (*Session, error) {
	cfg.Listen = p.Addr()
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

// Close ends the port. Sessions must have ended.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	for c := range p.greeting {
		c.Close()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.wg.Wait()
	return err
}

// Addr is where the port listens.
func (p *Port) Addr() netip.AddrPort {
	a := p.listener.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Suspect replaces the machines that send wrong bytes. They are served when nobody
// else wishes anything, and what they get is not believed to spread.
func (p *Port) Suspect(machines []netip.Addr) { p.uplink.suspect(machines) }

// leave forgets a session that has ended.
func (p *Port) leave(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s.infohash)
}

// accept takes connections until the port is closed.
func (p *Port) accept() {
	for {
		c, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors: others will be closed
			p.log.Warn("connection not taken", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		tune(c)
		p.wg.Go(func() {
			if err := p.welcome(p.link(c)); err != nil {
				p.log.Debug("connection not taken", "peer", c.RemoteAddr(), "err", err)
			}
		})
	}
}

// welcome does the handshake with a peer that has dialled us, and hands the
// connection to its session.
func (p *Port) welcome(c net.Conn) error {
	if !p.greet(c) {
		return c.Close()
	}
	theirs, err := readHandshake(c)
	p.mu.Lock()
	s := p.sessions[theirs.infohash]
	p.mu.Unlock()
	if err == nil && s == nil {
		err = fmt.Errorf("no session of torrent %x", theirs.infohash)
	}
	if err == nil {
		_, err = c.Write(handshake{infohash: theirs.infohash, peerID: s.peerID}.encode())
	}
	p.greeted(c)
	if err != nil {
		c.Close()
		return err
	}
	return s.attach(c, theirs, false)
}

// dial connects a session with a peer.
func (p *Port) dial(ctx context.Context, s *Session, to netip.AddrPort) error {
	dialled, err := p.dialer.DialContext(ctx, network(p.Addr()), to.String())
	if err != nil {
		return err
	}
	tune(dialled)
	c := p.link(dialled)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if !p.greet(c) {
		return c.Close()
	}
	_, err = c.Write(handshake{infohash: s.infohash, peerID: s.peerID}.encode())
	var theirs handshake
	if err == nil {
		theirs, err = readHandshake(c)
	}
	p.greeted(c)
	if err == nil && theirs.infohash != s.infohash {
		err = fmt.Errorf("the peer answers for torrent %x", theirs.infohash)
	}
	if err != nil {
		c.Close()
		return err
	}
	return s.attach(c, theirs, true)
}

// greet begins a handshake, unless the port is closed.
func (p *Port) greet(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.greeting[c] = struct{}{}
	c.SetDeadline(time.Now().Add(greetTime))
	return true
}

func (p *Port) greeted(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.greeting, c)
	c.SetDeadline(time.Time{})
}

// tune keeps what a link cannot take yet in our queues instead of the socket's, where
// its order could still be changed, and gives up a machine that is gone.
func tune(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
		})
	}
}

// unsentBytes is what a socket keeps besides what it is sending, which is enough
// that it doesn't run dry between two writes. With 32 KiB whole pieces went into
// sockets at once, and there they waited for 110 ms of 130 that they took: sixteen
// machines needed 1.44 of the bound for a boot, and 1.38 with this.
const unsentBytes = 4 << 10

func network(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}
