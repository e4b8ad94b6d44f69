// Package dhcp gives machines their addresses and tells them what to load.
//
// It knows packets and leases, and nothing of images: for each request it asks
// a Chooser what the machine is to load. bootserver.Server is its only caller.
//
// A packet comes in on a wire, which is the sockets of a port (port.go, wire.go), or
// is overheard where another program has the DHCP port (frames.go). If it is not one
// too many (load.go), it is read by parse (client.go), which says who asks. handle
// (handle.go) decides: by the network that the machine is on (network.go, relay.go),
// by the leases there (lease.go). answer (answer.go) builds the reply, and send.go
// says which way it goes. An address that is new to its machine is first looked for
// on the wire (probe.go), and an ACK waits until its lease is on disk (settle in
// load.go). rivals.go watches for other servers, rehearse.go answers a packet that
// nobody has sent.
//
// The loop is our own and only the packet codec is a library's: its server
// starts one goroutine for each packet without a bound, shares port 67 with
// other programs in silence, and leaves the addressing of replies to us anyway.
package dhcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"swarmboot/bootserver/internal/leasestore"
)

// ErrDenied says that a machine is none of ours and gets no answer.
var ErrDenied = errors.New("machine is not in the config, and unknown machines are denied")

// A Chooser decides what each machine loads.
type Chooser interface {
	// Choose is asked for each packet. With an error, such as ErrDenied, the
	// machine gets no answer.
	Choose(Client) (Boot, error)
	// Answered tells that client has been offered, or given, address; invalid if
	// another server gives the addresses.
	Answered(client Client, address netip.Addr)
}

// Config says where the server answers and from what.
type Config struct {
	Networks []Network // with different subnets and interfaces
	Leases   leasestore.Store
	Log      *slog.Logger
}

// Server answers DHCP on all networks of its config.
type Server struct {
	log      *slog.Logger
	chooser  Chooser
	store    leasestore.Store
	networks atomic.Pointer[networks]
	prober   *prober
	rivals   rivals
	quiet    quiet
	counters counters

	waiting   chan inbound   // DISCOVERs that wait for a worker
	unsettled chan unsettled // REQUESTs that wait for the disk, in the order in which it gets them

	mu      sync.Mutex       // held while ports are opened and closed
	ports   map[string]*port // guarded by mu; by interface
	serving *serving         // guarded by mu; nil before Serve
}

// serving is a call of Serve that runs.
type serving struct {
	ctx context.Context
	wg  sync.WaitGroup
}

// New reads the leases. Close the server when it is no longer needed.
func New(cfg Config, chooser Chooser) (*Server, error) {
	nets, err := networks(nil).merge(cfg.Networks, cfg.Leases)
	if err != nil {
		return nil, err
	}
	s := &Server{log: cfg.Log, chooser: chooser, store: cfg.Leases, ports: map[string]*port{}, quiet: quiet{every: time.Minute}}
	s.networks.Store(&nets)
	s.waiting, s.unsettled = make(chan inbound, maxWaiting), make(chan unsettled, maxUnsettled)
	s.prober = newProber(
		func(v verdict, in inbound) error { return in.on.ask(v) },
		func(v verdict, in inbound) { defer s.survive(in); s.deliver(v, in) },
		func(in inbound) { s.answerOne(context.Background(), in) }, s.log, &s.counters)
	rand.Read(s.rivals.xid[:])
	return s, nil
}

// Close closes ports that Serve has not taken over.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		p.close()
	}
}

// Owner is the machine that has been given address.
func (s *Server) Owner(address netip.Addr) (MAC, bool) {
	n, ok := s.networks.Load().containing(address)
	if !ok {
		return MAC{}, false
	}
	return n.leases.owner(address)
}

// Address is what mac has been given, in the first network where it has
// something; invalid if nowhere.
func (s *Server) Address(mac MAC) netip.Addr {
	for _, n := range *s.networks.Load() {
		if a := n.leases.address(mac); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// Touch extends the leases of a machine that was heard by other means.
func (s *Server) Touch(mac MAC) {
	for _, n := range *s.networks.Load() {
		n.leases.touch(mac, time.Now())
	}
}

// Learn notes that mac has an address that another server has given it.
func (s *Server) Learn(mac MAC, address netip.Addr) {
	if n, ok := s.networks.Load().containing(address); ok {
		n.leases.learn(mac, address, time.Now())
	}
}

// A Given is an address that a machine has been given.
type Given struct {
	MAC     MAC
	Address netip.Addr
	Expires time.Time // may be past: it keeps the address until another needs it
}

// Leases lists what has been given, in no order.
func (s *Server) Leases() []Given {
	var all []Given
	for _, n := range *s.networks.Load() {
		all = append(all, n.leases.given()...)
	}
	return all
}

// Listen opens the ports of all networks, or none: then it tells all that failed.
func (s *Server) Listen() []*ListenError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open(*s.networks.Load())
}

// A ListenError says for which network a port could not be opened.
type ListenError struct {
	Network string
	Port    uint16 // UDP
	Err     error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("network %s: listen on UDP port %d: %v", e.Network, e.Port, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// open opens the ports that nets need and that are not open yet, or none, and
// stops those that are not needed any more. s.mu is held.
func (s *Server) open(nets networks) []*ListenError {
	needed, errs := nets.listening(interfaceWith)
	opened := map[string]*port{}
	for name, on := range needed {
		if p := s.ports[name]; p != nil {
			if err := p.fits(on); err != nil {
				errs = append(errs, err)
			}
			continue
		}
		p, err := openPort(s, name, on)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		opened[name] = p
	}
	if len(errs) > 0 {
		for _, p := range opened {
			p.close()
		}
		return errs
	}
	for name, p := range s.ports {
		if needed[name] == nil {
			p.stop()
			delete(s.ports, name)
		}
	}
	for name, p := range opened {
		s.ports[name] = p
		s.start(p)
	}
	for name, p := range s.ports {
		p.mayTap.Store(tapAllowed(needed[name]))
	}
	return nil
}

// start lets p serve if Serve runs. s.mu is held.
func (s *Server) start(p *port) {
	if s.serving == nil {
		return
	}
	ctx, cancel := context.WithCancel(s.serving.ctx)
	p.cancel = cancel
	s.serving.wg.Go(func() { p.run(ctx) })
}

// Serve answers until ctx is done, on the ports that Listen has opened and
// Reload may change. It can be called once.
func (s *Server) Serve(ctx context.Context) error {
	run := &serving{ctx: ctx}
	for range runtime.GOMAXPROCS(0) {
		run.wg.Go(func() { s.work(ctx) })
	}
	run.wg.Go(func() { s.settle(ctx) })
	s.mu.Lock()
	s.serving = run
	for _, p := range s.ports {
		s.start(p)
	}
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock() // a Reload that runs starts its ports first
	s.serving = nil
	clear(s.ports) // they close themselves
	s.mu.Unlock()
	s.prober.stop()
	run.wg.Wait()
	return nil
}

// Reload puts other networks in force. Ports that stay needed stay open, and
// leases go on. After an error all is as before.
func (s *Server) Reload(next []Network) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	nets, err := s.networks.Load().merge(next, s.store)
	if err != nil {
		return err
	}
	var failed []error
	for _, err := range s.open(nets) {
		failed = append(failed, err)
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	s.networks.Store(&nets)
	for _, n := range nets {
		n.leases.setPool(n.pool())
	}
	return nil
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
