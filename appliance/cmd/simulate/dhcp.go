package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A cable speaks DHCP for all machines over one socket.
type cable struct {
	conn net.PacketConn

	mu      sync.Mutex
	waiting map[string]chan []byte // guarded by mu; by MAC
}

func plug(ctx context.Context, card string) (*cable, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var errSet error
		err := raw.Control(func(fd uintptr) {
			errSet = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, card),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20))
		})
		return errors.Join(err, errSet)
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", "0.0.0.0:68")
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", card, err)
	}
	c := &cable{conn: conn, waiting: map[string]chan []byte{}}
	context.AfterFunc(ctx, func() { conn.Close() })
	go c.receive()
	return c, nil
}

func (c *cable) receive() {
	buf := make([]byte, 1500)
	for {
		n, _, err := c.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if n < 240 {
			continue
		}
		c.mu.Lock()
		if waiting := c.waiting[string(buf[28:34])]; waiting != nil {
			select {
			case waiting <- bytes.Clone(buf[:n]):
			default:
			}
		}
		c.mu.Unlock()
	}
}

// address is what the server gives to mac: DISCOVER, OFFER, REQUEST, ACK.
func (c *cable) address(ctx context.Context, mac net.HardwareAddr) (netip.Addr, error) {
	answers := make(chan []byte, 4)
	c.mu.Lock()
	c.waiting[string(mac)] = answers
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, string(mac))
		c.mu.Unlock()
	}()
	ask := func(kind byte, options ...byte) (netip.Addr, error) {
		for range 6 {
			if _, err := c.conn.WriteTo(packet(mac, kind, options), &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
				return netip.Addr{}, err
			}
			select {
			case answer := <-answers:
				return netip.AddrFrom4([4]byte(answer[16:20])), nil
			case <-time.After(4 * time.Second):
			case <-ctx.Done():
				return netip.Addr{}, ctx.Err()
			}
		}
		return netip.Addr{}, fmt.Errorf("machine %s: no answer to DHCP", mac)
	}
	offered, err := ask(1)
	if err != nil {
		return offered, err
	}
	return ask(3, append([]byte{50, 4}, offered.AsSlice()...)...)
}

// packet is what the firmware of a PC sends (RFC 2131, PXE 2.1).
func packet(mac net.HardwareAddr, kind byte, options []byte) []byte {
	p := make([]byte, 236, 400)
	p[0], p[1], p[2] = 1, 1, 6 // request, Ethernet
	binary.BigEndian.PutUint32(p[4:], binary.BigEndian.Uint32(mac[2:]))
	p[10] = 0x80 // answer by broadcast
	copy(p[28:], mac)
	p = append(p, 99, 130, 83, 99, 53, 1, kind, 93, 2, 0, 7, 94, 3, 1, 3, 16, 60, 32)
	p = append(p, "PXEClient:Arch:00007:UNDI:003016"...)
	p = append(p, options...)
	p = append(p, 255)
	return append(p, make([]byte, 300-min(300, len(p)))...)
}
