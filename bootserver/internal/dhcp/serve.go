// Package dhcp gives machines their addresses and tells them what to load.
//
// It knows packets and leases, and nothing of images: for each request it asks
// a Chooser what the machine is to load. bootserver.Server is its only caller.
//
// A packet travels Serve (serve.go), which receives it, parse (client.go), which
// says who asks, handle (below), leases (lease.go), which remember who has which
// address, answer (answer.go), which decides, and sender (send.go).
//
// The loop is our own and only the packet codec is a library's: its server
// starts one goroutine for each packet without a bound, shares port 67 with
// other programs in silence, and leaves the addressing of replies to us anyway.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// ErrDenied says that a machine is none of ours and gets no answer.
var ErrDenied = errors.New("machine is not in the config, and unknown machines are denied")

// A Chooser decides what each machine loads.
type Chooser interface {
	// Choose is asked for each packet. With an error, such as ErrDenied, the
	// machine gets no answer.
	Choose(Client) (Boot, error)
	// Answered tells that client has been offered, or given, address.
	Answered(client Client, address netip.Addr)
}

// Config says where the server answers and from what.
type Config struct {
	Interface string
	Network   Network
	Pool      Pool
	Leases    string // file that keeps the leases
	Log       *slog.Logger
}

// Server answers DHCP on one interface.
type Server struct {
	cfg     Config
	chooser Chooser
	leases  *leases
	store   *store
	quiet   quiet
	dropped atomic.Int64
}

// New opens the lease file. Close the server when it is no longer needed.
func New(cfg Config, chooser Chooser) (*Server, error) {
	st, err := openStore(cfg.Leases, cfg.Log)
	if err != nil {
		return nil, err
	}
	cfg.Pool.Lease = cfg.Network.Lease
	l, err := newLeases(cfg.Pool, st)
	if err != nil {
		st.close()
		return nil, err
	}
	return &Server{cfg: cfg, chooser: chooser, leases: l, store: st, quiet: quiet{every: time.Minute}}, nil
}

// Close closes the lease file.
func (s *Server) Close() error { return s.store.close() }

// Owner is the machine that has been given address.
func (s *Server) Owner(address netip.Addr) (MAC, bool) { return s.leases.owner(address) }

// Address is what mac has been given; invalid if nothing.
func (s *Server) Address(mac MAC) netip.Addr { return s.leases.address(mac) }

// Touch extends the lease of a machine that was heard by other means.
func (s *Server) Touch(mac MAC) { s.leases.touch(mac, time.Now()) }

// Listen opens port 67 on the interface, for itself alone.
func Listen(ctx context.Context, ifname string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var errSet error
		err := raw.Control(func(fd uintptr) {
			errSet = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, ifname),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
			// A hall that is powered on sends thousands of packets at once.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) != nil {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
			}
		})
		return errors.Join(err, errSet)
	}}
	// Only the wildcard address gets broadcasts.
	conn, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf("0.0.0.0:%d", serverPort))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

const (
	workers  = 8
	queueLen = 256 // packets of one worker that wait; more are dropped, machines repeat them
)

// Serve answers until ctx is done. It closes conn.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	ifi, err := net.InterfaceByName(s.cfg.Interface)
	if err != nil {
		conn.Close()
		return fmt.Errorf("interface %s: %w", s.cfg.Interface, err)
	}
	out := &sender{udp: ipv4.NewPacketConn(conn), source: s.cfg.Network.Server.Addr(), index: ifi.Index}
	if out.frames, err = openFrames(ifi); err != nil {
		s.cfg.Log.Warn("no packet socket (CAP_NET_RAW?); replies are broadcast", "err", err)
		out.frames = nil
	} else {
		defer out.frames.Close()
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, func() { conn.Close() })
	var wg sync.WaitGroup
	wg.Go(func() { s.watch(ctx, ifi, cancel) })
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	var storing sync.WaitGroup
	storing.Go(func() { s.store.run(storeCtx) })

	// One machine's packets go to one worker, so they stay in order.
	var queues [workers]chan []byte
	for i := range queues {
		queues[i] = make(chan []byte, queueLen)
		wg.Go(func() {
			for data := range queues[i] {
				s.answerOne(ctx, data, out)
			}
		})
	}
	err = s.receive(conn, queues[:])
	for _, queue := range queues {
		close(queue)
	}
	if ctx.Err() == nil {
		cancel(fmt.Errorf("receive: %w", err))
	}
	wg.Wait()
	stopStore()
	storing.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (s *Server) receive(conn *net.UDPConn, queues []chan []byte) error {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if n < 34 { // up to the hardware address
			continue
		}
		data := append([]byte(nil), buf[:n]...)
		select {
		case queues[int(data[33])%len(queues)] <- data:
		default:
			if n := s.dropped.Add(1); s.quiet.allow("dropped") {
				s.cfg.Log.Warn("packets were dropped: more come than can be answered", "dropped", n)
			}
		}
	}
}

// watch ends the service when its interface goes away: a socket bound to a
// device that was removed stays silent for ever.
func (s *Server) watch(ctx context.Context, ifi *net.Interface, fail context.CancelCauseFunc) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now, err := net.InterfaceByName(ifi.Name); err != nil || now.Index != ifi.Index {
				fail(fmt.Errorf("interface %s has gone; start again when it is back", ifi.Name))
				return
			}
		}
	}
}

// answerOne handles one packet; a packet that makes us panic costs only itself.
func (s *Server) answerOne(ctx context.Context, data []byte, out *sender) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("a packet was too much", "err", p, "packet", fmt.Sprintf("%x", data), "stack", string(debug.Stack()))
		}
	}()
	reply, done := s.handle(ctx, data)
	if reply == nil {
		return
	}
	if err := out.send(reply); err != nil {
		s.cfg.Log.Warn("answer was not sent", "machine", reply.ClientHWAddr.String(), "err", err)
		return
	}
	if done != nil {
		done()
	}
}

// handle decides about one packet. The reply is nil if there is none to send;
// done, if not nil, is to be called once it is sent.
func (s *Server) handle(ctx context.Context, data []byte) (reply *dhcpv4.DHCPv4, done func()) {
	req, client, err := parse(data)
	if err != nil {
		s.cfg.Log.Debug("packet ignored", "err", err)
		return nil, nil
	}
	log := s.cfg.Log.With("machine", client.MAC.String())
	if relay := addr(req.GatewayIPAddr); relay.IsValid() && !s.cfg.Network.Server.Masked().Contains(relay) {
		if s.quiet.allow("relay " + relay.String()) {
			log.Warn("request from a network that is not served", "relay", relay)
		}
		return nil, nil
	}
	boot, err := s.chooser.Choose(client)
	if err != nil {
		if s.quiet.allow("denied " + client.MAC.String()) {
			log.Warn("machine gets no answer", "program", client.Program, "err", err)
		}
		return nil, nil
	}

	now, server := time.Now(), s.cfg.Network.Server.Addr()
	give := func(kind dhcpv4.MessageType, address netip.Addr) (*dhcpv4.DHCPv4, func()) {
		reply, err := answer(req, client, kind, s.cfg.Network, address, boot)
		if err != nil {
			log.Error("machine gets no answer", "err", err)
			return nil, nil
		}
		return reply, func() {
			log.Info("dhcp "+kind.String()+" sent", "address", address, "program", client.Program, "platform", client.Platform, "load", boot.File)
			s.chooser.Answered(client, address)
		}
	}
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		address, err := s.leases.offer(client.MAC, addr(req.RequestedIPAddress()), now)
		if err != nil {
			if s.quiet.allow("no address " + client.MAC.String()) {
				log.Error("machine gets no address", "err", err)
			}
			return nil, nil
		}
		return give(dhcpv4.MessageTypeOffer, address)

	case dhcpv4.MessageTypeRequest:
		address := asked(req, server)
		if !address.IsValid() {
			return nil, nil
		}
		granted, err := s.leases.claim(ctx, client.MAC, address, now)
		if err != nil {
			log.Error("machine gets no address", "err", err)
			return nil, nil
		}
		if granted {
			return give(dhcpv4.MessageTypeAck, address)
		}
		log.Info("address refused", "address", address)
		reply, err := refuse(req, server, address.String()+" is not yours here")
		if err != nil {
			log.Error("machine gets no answer", "err", err)
			return nil, nil
		}
		return reply, nil

	case dhcpv4.MessageTypeDecline:
		if address := addr(req.RequestedIPAddress()); s.leases.decline(client.MAC, address, now) {
			log.Warn("address set aside: the machine says that another computer uses it", "address", address)
		}
	case dhcpv4.MessageTypeRelease:
		s.leases.release(client.MAC, addr(req.ClientIPAddr), now)
	case dhcpv4.MessageTypeInform:
		return give(dhcpv4.MessageTypeAck, netip.Addr{})
	}
	return nil, nil
}

// quiet lets one message of each kind through in a while: a machine that is
// refused asks again every few seconds.
type quiet struct {
	every time.Duration
	mu    sync.Mutex
	last  map[string]time.Time // guarded by mu
}

func (q *quiet) allow(kind string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if now.Sub(q.last[kind]) < q.every {
		return false
	}
	if q.last == nil || len(q.last) >= 4096 {
		q.last = map[string]time.Time{} // whoever floods us with addresses gets no memory
	}
	q.last[kind] = now
	return true
}
