package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/icmp"
	"golang.org/x/sys/unix"

	"swarmboot/bootserver/internal/socket"
)

// A wire is the open sockets on an interface as it is now.
type wire struct {
	name   string
	index  int
	mac    MAC
	dhcp   *net.UDPConn // port 67; nil: another program has it, and frames listens
	pxe    *net.UDPConn // port 4011
	raw    error        // why there are none of the sockets that follow; nil: there are
	frames *packet.Conn // IPv4 packets as they are on the wire
	arp    *packet.Conn
	ping   *icmp.PacketConn
	open   []io.Closer // all of them
}

// openWire opens all sockets or none. mayTap: if port 67 is taken, listen to what
// others hear.
func openWire(name string, mayTap bool) (*wire, *ListenError) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, &ListenError{Port: serverPort, Err: fmt.Errorf("interface %s: %w", name, unix.ENODEV)}
	}
	w := &wire{name: name, index: ifi.Index}
	w.mac, _ = ToMAC(ifi.HardwareAddr)
	fail := func(port uint16, err error) (*wire, *ListenError) {
		w.close()
		return nil, &ListenError{Port: port, Err: err}
	}
	taken := false
	if w.dhcp, err = w.listen(serverPort); err != nil {
		if taken = mayTap && errors.Is(err, unix.EADDRINUSE); !taken {
			return fail(serverPort, err)
		}
	}
	if w.pxe, err = w.listen(pxePort); err != nil {
		return fail(pxePort, err)
	}
	if w.raw = w.openRaw(ifi, taken); w.raw != nil && taken {
		return fail(serverPort, fmt.Errorf("another program has the port, and listening beside it failed: %w", w.raw))
	}
	return w, nil
}

// openRaw opens what needs CAP_NET_RAW.
func (w *wire) openRaw(ifi *net.Interface, tap bool) error {
	filter, err := frameFilter(tap)
	if err != nil {
		return err
	}
	if w.frames, err = packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter}); err != nil {
		return err
	}
	w.open = append(w.open, w.frames)
	if w.arp, err = packet.Listen(ifi, packet.Datagram, unix.ETH_P_ARP, nil); err != nil {
		return err
	}
	w.open = append(w.open, w.arp)
	deafToSelf(w.arp)
	if w.ping, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0"); err != nil {
		return err
	}
	w.open = append(w.open, w.ping)
	return nil
}

// deafToSelf spares a packet socket what this host sends. A kernel before Linux
// 4.20 cannot do so; then what we send is heard, and of no account.
func deafToSelf(c *packet.Conn) {
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) })
	}
}

// listen opens a UDP port on an interface, for itself alone: another server that
// shared it would answer as well.
func (w *wire) listen(port uint16) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var errSet error
		err := raw.Control(func(fd uintptr) {
			errSet = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, w.name),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				// Each packet comes with where it was sent to, when it came, and how many
				// were lost before it for want of room.
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1))
			socket.MakeRoom(fd)
		})
		return errors.Join(err, errSet)
	}}
	// Only the wildcard address gets broadcasts.
	conn, err := lc.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		return nil, err
	}
	w.open = append(w.open, conn)
	return conn.(*net.UDPConn), nil
}

func (w *wire) close() {
	for _, c := range w.open {
		c.Close()
	}
}

// serve reads until ctx is done or the interface has gone, and closes all
// sockets.
func (w *wire) serve(ctx context.Context, s *Server) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, w.close)
	var wg sync.WaitGroup
	read := func(loop func(context.Context, *Server) error) {
		wg.Go(func() { cancel(loop(ctx, s)) })
	}
	if w.dhcp != nil {
		read(func(ctx context.Context, s *Server) error { return w.receive(ctx, w.dhcp, serverPort, s) })
	}
	read(func(ctx context.Context, s *Server) error { return w.receive(ctx, w.pxe, pxePort, s) })
	if w.raw == nil {
		read(w.overhear)
		read(w.hearARP)
		read(w.hearEcho)
		read(w.seekRivals)
	}
	read(w.watch)
	wg.Wait()
	return context.Cause(ctx)
}

// receive answers what comes to a UDP port.
func (w *wire) receive(ctx context.Context, conn *net.UDPConn, port uint16, s *Server) error {
	buf, control := make([]byte, 4096), make([]byte, 256)
	lost := uint32(0)
	for {
		n, m, _, source, err := conn.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			return fmt.Errorf("receive on port %d: %w", port, err)
		}
		told := readControl(control[:m])
		if now := told.lost; now != lost {
			s.counters.received.Add(int64(now - lost))
			s.drop(int64(now - lost))
			lost = now
		}
		source = netip.AddrPortFrom(addr(source.Addr().AsSlice()), source.Port())
		s.counters.received.Add(1)
		s.admit(ctx, inbound{
			data: slices.Clone(buf[:n]), on: w, at: told.at,
			from: arrival{ifname: w.name, source: source, broadcast: s.networks.Load().broadcasts(told.to), port: port},
		})
	}
}

// A control is what the kernel tells of a packet.
type control struct {
	to   netip.Addr // that it was sent to
	at   time.Time  // when it came
	lost uint32     // packets so far that the socket had no room for
}

func readControl(b []byte) (c control) {
	c.at = time.Now()
	for len(b) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			break
		}
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= 12:
			c.to = netip.AddrFrom4([4]byte(data[8:12]))
		case header.Level == unix.SOL_SOCKET && header.Type == unix.SO_TIMESTAMPNS && len(data) >= 16:
			c.at = time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:])))
		case header.Level == unix.SOL_SOCKET && header.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			c.lost = binary.NativeEndian.Uint32(data)
		}
		b = rest
	}
	return c
}

// watch ends the service when the interface goes away: a socket bound to a device
// that was removed stays silent for ever.
func (w *wire) watch(ctx context.Context, s *Server) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	linked := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		ifi, err := net.InterfaceByName(w.name)
		if err != nil || ifi.Index != w.index {
			return unix.ENODEV
		}
		if now := ifi.Flags&net.FlagRunning != 0; now != linked {
			if linked = now; linked {
				s.log.Info("interface has a link again", "interface", w.name)
			} else {
				s.log.Warn("interface has no link; is its cable plugged in, and its switch on?", "interface", w.name)
			}
		}
	}
}
