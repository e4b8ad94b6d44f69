// Package ra answers machines that look for an IPv6 router (RFC 4861).
//
// The boot server is no router and never says so. It has two other things to
// tell. Where it gives out IPv6 addresses, a machine learns by its answer that
// it is to ask DHCPv6 and which addresses are on its own wire. Where it does
// not, the answer is an empty one: there is nothing to wait for. Network cards
// whose ROM is an iPXE of before 2020 wait for that: an empty answer, to them
// alone, starts their boot after 5 seconds instead of 18.
//
// A packet travels Run (below), reply, which decides, and back.
// bootserver.Server is the only caller.
package ra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// Config says where the server answers, and what. Prefix and Known are asked each
// time, as a reload may change what they say.
type Config struct {
	Interface string
	Prefix    func() netip.Prefix             // of the addresses that DHCPv6 gives out here; invalid: none, answers are empty
	Known     func(mac net.HardwareAddr) bool // whether a machine is one of ours; others get no empty answer
	Log       *slog.Logger
}

const (
	// A router is taken for gone when it has not been heard for this long: the
	// longest interval that RFC 4861 section 6.2.1 allows.
	silence = 30 * time.Minute

	// The prefix is told to everybody so often, and remembered for so long.
	interval = 10 * time.Minute
	lifetime = 24 * time.Hour

	// So soon after a reload everybody is told of another prefix.
	look = 10 * time.Second

	// RFC 4861 section 10, MIN_DELAY_BETWEEN_RAS: between answers to everybody.
	pause = 3 * time.Second
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// Server answers on one interface.
type Server struct {
	cfg Config

	// Run alone uses these.
	router    netip.Addr // another router that was heard, and when
	heard     time.Time
	told      netip.Prefix // which everybody was last told, and when
	broadcast time.Time
}

// New makes a server; it opens nothing.
func New(cfg Config) *Server { return &Server{cfg: cfg} }

// Run answers until ctx is done. While the interface is away, or has no IPv6
// address of its own, Run waits: DHCP and all else go on without it.
func (s *Server) Run(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// An interface that has just come up needs a second to make sure of its
		// address: the first failures mean nothing.
		if attempt == 4 {
			s.cfg.Log.Info("machines that look for an IPv6 router get no answer for now", "interface", s.cfg.Interface, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
}

// serve answers until the socket fails or ctx is done.
func (s *Server) serve(ctx context.Context) error {
	ifi, err := net.InterfaceByName(s.cfg.Interface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.cfg.Interface, err)
	}
	conn, own, err := listen(ifi)
	if err != nil {
		return fmt.Errorf("listen for router solicitations on %s: %w", s.cfg.Interface, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s.cfg.Log.Debug("answering router solicitations", "interface", ifi.Name, "address", own)
	for {
		if s.due(time.Now()) {
			if err := conn.WriteTo(s.advertisement(ifi), nil, allNodes); err != nil {
				return fmt.Errorf("advertise on %s: %w", ifi.Name, err)
			}
		}
		// A little earlier or later each time, lest all servers talk at once.
		if err := conn.SetReadDeadline(time.Now().Add(look + rand.N(pause))); err != nil {
			return err
		}
		message, control, from, err := conn.ReadFrom()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive on %s: %w", ifi.Name, err)
		}
		if control == nil || control.HopLimit != ndp.HopLimit {
			continue // has come from beyond this wire: RFC 4861 section 6.1
		}
		to := s.reply(message, from, routes(ifi.Name), time.Now())
		if !to.IsValid() {
			continue
		}
		if err := conn.WriteTo(s.advertisement(ifi), nil, to); err != nil {
			// The machine may have gone; it asks again if not.
			s.cfg.Log.Debug("router solicitation was not answered", "from", from, "err", err)
		}
	}
}

// due tells whether everybody is to be told now, as is done then: of a prefix
// every few minutes, and at once that it is another one or none any more.
func (s *Server) due(now time.Time) bool {
	prefix := s.cfg.Prefix()
	if prefix == s.told && (!prefix.IsValid() || now.Sub(s.broadcast) < interval) {
		return false
	}
	s.broadcast, s.told = now, prefix
	return true
}

func listen(ifi *net.Interface) (*ndp.Conn, netip.Addr, error) {
	conn, own, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return nil, own, err
	}
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterSolicitation)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := errors.Join(
		conn.SetICMPFilter(&only),
		conn.SetControlMessage(ipv6.FlagHopLimit, true),
		conn.JoinGroup(allRouters),
		conn.JoinGroup(allNodes),
	); err != nil {
		conn.Close()
		return nil, own, err
	}
	return conn, own, nil
}

// reply decides who is answered; nobody if the address is invalid. routes says
// that this host forwards IPv6.
func (s *Server) reply(message ndp.Message, from netip.Addr, routes bool, now time.Time) netip.Addr {
	switch m := message.(type) {
	case *ndp.RouterAdvertisement:
		s.hear(m, from, now)
		return netip.Addr{}

	case *ndp.RouterSolicitation:
		if s.cfg.Prefix().IsValid() {
			if !from.IsUnspecified() {
				return from
			}
			// It has no address yet, so that all have to be told.
			if now.Sub(s.broadcast) < pause {
				return netip.Addr{}
			}
			s.broadcast = now
			return allNodes
		}
		// Our word that there is nothing to wait for is for nobody who has
		// somebody else to wait for: a router on the wire, or one on this host.
		if routes || now.Sub(s.heard) < silence || from.IsUnspecified() {
			return netip.Addr{}
		}
		if mac := sender(m); mac == nil || !s.cfg.Known(mac) {
			return netip.Addr{}
		}
		return from
	}
	return netip.Addr{}
}

// hear notes that there is a router. An empty advertisement, such as another
// boot server's, makes none.
func (s *Server) hear(m *ndp.RouterAdvertisement, from netip.Addr, now time.Time) {
	empty := m.RouterLifetime == 0 && !m.ManagedConfiguration && !m.OtherConfiguration
	for _, option := range m.Options {
		if _, prefix := option.(*ndp.PrefixInformation); prefix {
			empty = false
		}
	}
	if empty {
		return
	}
	if from != s.router || now.Sub(s.heard) >= silence {
		log := s.cfg.Log.With("router", from, "interface", s.cfg.Interface)
		if s.cfg.Prefix().IsValid() && !m.ManagedConfiguration {
			log.Warn("another IPv6 router is on the wire and tells machines not to ask DHCPv6; set its M flag")
		} else {
			log.Info("another IPv6 router is on the wire")
		}
	}
	s.router, s.heard = from, now
}

// advertisement is what machines are told. Its router lifetime is zero: this is
// no default router.
func (s *Server) advertisement(ifi *net.Interface) *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}}}
	if prefix := s.cfg.Prefix(); prefix.IsValid() {
		m.ManagedConfiguration, m.OtherConfiguration = true, true
		// Not for addresses of a machine's own making: by its address the server
		// knows the machine.
		m.Options = append(m.Options, &ndp.PrefixInformation{
			Prefix: prefix.Masked().Addr(), PrefixLength: uint8(prefix.Bits()),
			OnLink: true, ValidLifetime: lifetime, PreferredLifetime: lifetime,
		})
	}
	return m
}

// sender is the hardware address that a solicitation names; nil if it names none.
func sender(m *ndp.RouterSolicitation) net.HardwareAddr {
	for _, option := range m.Options {
		if a, ok := option.(*ndp.LinkLayerAddress); ok && a.Direction == ndp.Source {
			return a.Addr
		}
	}
	return nil
}

// routes tells whether the kernel forwards IPv6 from the interface. A daemon
// such as radvd then speaks for this host, with the same source address as we:
// our router lifetime of zero would take its word back.
func routes(ifname string) bool {
	value, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + ifname + "/forwarding")
	return err == nil && strings.TrimSpace(string(value)) != "0"
}
