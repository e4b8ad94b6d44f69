package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain is how often a port looks whether its interface is still there, or is
// back.
const lookAgain = time.Second

// A port serves on one interface for as long as it is needed. When the interface
// vanishes it waits for one of the same name.
type port struct {
	server *Server
	name   string      // of the interface
	mayTap atomic.Bool // all networks here are in proxy mode
	wire   atomic.Pointer[wire]
	cancel context.CancelFunc // nil until it runs
	ended  chan struct{}
}

// openPort opens the sockets on an interface with the networks on.
func openPort(s *Server, name string, on []*network) (*port, *ListenError) {
	p := &port{server: s, name: name, ended: make(chan struct{})}
	p.mayTap.Store(tapAllowed(on))
	w, err := openWire(name, tapAllowed(on))
	if err != nil {
		err.Network = on[0].Name
		return nil, err
	}
	p.wire.Store(w)
	return p, nil
}

// tapAllowed tells whether port 67 may belong to another program on this host: a
// DHCP server that gives the addresses of the networks on.
func tapAllowed(on []*network) bool {
	return !slices.ContainsFunc(on, func(n *network) bool { return n.Mode != Proxy })
}

// fits tells whether an open port can serve the networks on. Where another program
// has port 67, it can serve networks in proxy mode only.
func (p *port) fits(on []*network) *ListenError {
	if !tapAllowed(on) && p.wire.Load().dhcp == nil {
		return &ListenError{Network: on[0].Name, Port: serverPort, Err: fmt.Errorf("another program had it when this server began to listen beside it; stop that one and restart this one: %w", unix.EADDRINUSE)}
	}
	return nil
}

func (p *port) close() { p.wire.Load().close() }

// stop ends the port and waits until its sockets are closed.
func (p *port) stop() {
	if p.cancel == nil {
		p.close()
		return
	}
	p.cancel()
	<-p.ended
}

func (p *port) run(ctx context.Context) {
	defer close(p.ended)
	log := p.server.log.With("interface", p.name)
	for w := p.wire.Load(); ; {
		if w.raw != nil {
			log.Warn("no raw sockets (CAP_NET_RAW?): replies are broadcast, addresses are offered unseen, other servers are not noticed", "err", w.raw)
		}
		err := w.serve(ctx, p.server)
		if ctx.Err() != nil {
			return
		}
		log.Error("interface has gone; its machines get no answer until it is back", "err", err)
		if w = p.reopen(ctx); w == nil {
			return
		}
		p.wire.Store(w)
		log.Info("interface is back")
	}
}

// reopen waits for the interface; nil when ctx is done.
func (p *port) reopen(ctx context.Context) *wire {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		w, err := openWire(p.name, p.mayTap.Load())
		if err == nil {
			return w
		}
		if !errors.Is(err, unix.ENODEV) && p.server.quiet.allow("reopen "+p.name) {
			p.server.log.Warn("interface cannot be served yet", "interface", p.name, "err", err)
		}
	}
}

// interfaceWith finds the interface that has an address of this host.
func interfaceWith(a netip.Addr) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, ifi := range all {
		addrs, _ := ifi.Addrs() // one that vanishes just now has none
		for _, has := range addrs {
			if n, ok := has.(*net.IPNet); ok && addr(n.IP) == a {
				return ifi.Name, nil
			}
		}
	}
	return "", unix.EADDRNOTAVAIL
}
