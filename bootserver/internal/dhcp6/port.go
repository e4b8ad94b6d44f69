package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"swarmboot/bootserver/internal/socket"
)

const (
	serverPort = 547
	maxAtWork  = 256 // packets; what comes meanwhile waits in the socket

	// lookAgain is how often it is seen whether the interface is still there, or is
	// back.
	lookAgain = time.Second
)

// Groups that machines and relays send to: on one wire, and at one site (RFC 8415
// section 7.1).
var (
	relaysAndServers = netip.MustParseAddr("ff02::1:2")
	allServers       = netip.MustParseAddr("ff05::1:3")
)

// Listen opens port 547 on an interface.
func Listen(ctx context.Context, ifname string) (*net.UDPConn, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var errSet error
		err := raw.Control(func(fd uintptr) {
			errSet = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, ifi.Name)
			socket.MakeRoom(fd)
		})
		return errors.Join(err, errSet)
	}}
	conn, err := lc.ListenPacket(ctx, "udp6", fmt.Sprintf("[::]:%d", serverPort))
	if err != nil {
		return nil, err
	}
	for _, group := range []netip.Addr{relaysAndServers, allServers} {
		if err := ipv6.NewPacketConn(conn).JoinGroup(ifi, &net.UDPAddr{IP: group.AsSlice()}); err != nil {
			conn.Close()
			return nil, fmt.Errorf("join %s: %w", group, err)
		}
	}
	return conn.(*net.UDPConn), nil
}

// Serve answers what comes in at an interface until ctx is done; when the
// interface vanishes, it waits for one of the same name. It closes conn, which
// Listen has opened there.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn, ifname string) error {
	log := s.log.With("interface", ifname)
	for {
		err := s.receive(ctx, conn, ifname)
		if ctx.Err() != nil {
			return nil
		}
		log.Error("interface has gone; its machines get no answer over IPv6 until it is back", "err", err)
		if conn = reopen(ctx, ifname); conn == nil {
			return nil
		}
		log.Info("interface is back for IPv6")
	}
}

// receive answers until ctx is done or the interface has gone, and closes conn.
func (s *Server) receive(ctx context.Context, conn *net.UDPConn, ifname string) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, func() { conn.Close() })
	wg.Go(func() { cancel(watch(ctx, ifname)) })
	atWork := make(chan struct{}, maxAtWork)
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		data := slices.Clone(buf[:n])
		atWork <- struct{}{}
		wg.Go(func() {
			defer func() { <-atWork }()
			s.answerOne(ctx, conn, data, from, ifname)
		})
	}
}

// watch ends when the interface is another one than at first, or none: a socket
// bound to one that was removed stays silent for ever.
func watch(ctx context.Context, ifname string) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	index := 0
	for {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		if index != 0 && ifi.Index != index {
			return unix.ENODEV
		}
		index = ifi.Index
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reopen waits for the interface; nil when ctx is done.
func reopen(ctx context.Context, ifname string) *net.UDPConn {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if conn, err := Listen(ctx, ifname); err == nil {
			return conn
		}
	}
}
