package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

const (
	// probeWait is how long a computer has to show that it uses an address. On
	// the wire an answer takes a millisecond, and firmware that asks for an
	// address waits for at least a second.
	probeWait = 300 * time.Millisecond
	// probeRound is how long probes gather to end together. Of many machines at once
	// the processor then wakes for all, and their REQUESTs come together too, and are
	// written together.
	probeRound = 20 * time.Millisecond
	// Offers of one round go out at 4,000 in a second: each brings a REQUEST, and more
	// of those than can be answered would only be lost, in switches and here.
	paceBurst = 8
	pacePause = 2 * time.Millisecond
	// maxProbes bounds what a flood of new machines costs. Beyond it addresses
	// are offered unseen.
	maxProbes = 1024
)

// prober finds out whether an address that is new to its machine is in use. The
// machine's packet waits meanwhile, and no other does.
type prober struct {
	question func(verdict, inbound) error // asks on the wire
	unused   func(verdict, inbound)       // goes on when nobody has answered
	again    func(inbound)                // decides anew when somebody has
	log      *slog.Logger
	counters *counters

	mu      sync.Mutex
	waiting map[netip.Addr]*probe // guarded by mu
	round   *round                // guarded by mu; the last that was begun
	stopped bool                  // guarded by mu
}

type probe struct {
	verdict
	inbound
}

// A round is probes that end together.
type round struct {
	begun  time.Time
	probes []*probe // grows for probeRound, under the prober's mu
}

func newProber(question func(verdict, inbound) error, unused func(verdict, inbound), again func(inbound), log *slog.Logger, c *counters) *prober {
	return &prober{question: question, unused: unused, again: again, log: log, counters: c, waiting: map[netip.Addr]*probe{}}
}

// ask begins a probe of v.suspect, and tells whether the packet has to wait for
// its end. A machine that asks again in the meantime gets no second one.
func (p *prober) ask(v verdict, in inbound) (wait bool) {
	address := v.suspect
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || p.waiting[address] != nil {
		return true
	}
	if len(p.waiting) >= maxProbes || p.question(v, in) != nil {
		return false
	}
	q := &probe{verdict: v, inbound: in}
	p.waiting[address] = q
	if now := time.Now(); p.round == nil || now.Sub(p.round.begun) >= probeRound {
		r := &round{begun: now}
		p.round = r
		time.AfterFunc(probeRound+probeWait, func() { p.end(r) })
	}
	p.round.probes = append(p.round.probes, q)
	return true
}

// end ends a round: of the addresses that still wait nobody has shown himself
// at.
func (p *prober) end(r *round) {
	p.mu.Lock()
	probes := r.probes
	if p.round == r { // on a starved computer it may still be the last
		p.round = nil
	}
	p.mu.Unlock()
	for i, q := range probes {
		if i > 0 && i%paceBurst == 0 {
			time.Sleep(pacePause)
		}
		if p.take(q) {
			q.network.leases.prove(q.suspect)
			p.unused(q.verdict, q.inbound)
		}
	}
}

// heard is told of each computer that shows itself at an address; mac is zero if
// unknown. The machine itself may still use the address: then it is its own.
func (p *prober) heard(address netip.Addr, mac MAC) {
	p.mu.Lock()
	q := p.waiting[address]
	p.mu.Unlock()
	if q == nil || mac == q.client.MAC || !p.take(q) {
		return
	}
	q.network.leases.decline(q.client.MAC, address, time.Now())
	p.counters.inUse.Add(1)
	p.log.Warn("address set aside: another computer uses it; find that one, or take the address out of the pool",
		"address", address, "network", q.network.Name, "used_by", mac.String())
	p.again(q.inbound)
}

// take ends a probe, for the first who does.
func (p *prober) take(q *probe) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || p.waiting[q.suspect] != q {
		return false
	}
	delete(p.waiting, q.suspect)
	return true
}

// stop forgets all probes.
func (p *prober) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}

// ask sends the question whether v.suspect is in use: by ARP (RFC 5227) on our own
// wire, and as an echo request to a network behind a relay.
func (w *wire) ask(v verdict) error {
	if w.raw != nil {
		return w.raw
	}
	if v.network.Interface != w.name {
		echo, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{}}).Marshal(nil)
		if err != nil {
			return err
		}
		_, err = w.ping.WriteTo(echo, &net.IPAddr{IP: ip(v.suspect)})
		return err
	}
	_, err := w.arp.WriteTo(arpProbe(w.mac, v.suspect), &packet.Addr{HardwareAddr: ethernetBroadcast})
	return err
}

// arpProbe is an ARP request whose sender has no address.
func arpProbe(sender MAC, target netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, their lengths, request
	b = append(b, sender[:]...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, make([]byte, 6)...)
	return append(b, target.AsSlice()...)
}

// arpSender reads who sends an ARP packet, and from which address.
func arpSender(b []byte) (mac MAC, address netip.Addr, ok bool) {
	if len(b) < 28 || string(b[:6]) != "\x00\x01\x08\x00\x06\x04" {
		return MAC{}, netip.Addr{}, false
	}
	address = netip.AddrFrom4([4]byte(b[14:18]))
	return MAC(b[8:14]), address, !address.IsUnspecified()
}

func (w *wire) hearARP(ctx context.Context, s *Server) error {
	buf := make([]byte, 64)
	for {
		n, _, err := w.arp.ReadFrom(buf)
		if err != nil {
			if err := pause(ctx, err); err != nil {
				return fmt.Errorf("hear ARP: %w", err)
			}
			continue
		}
		if mac, address, ok := arpSender(buf[:n]); ok {
			s.prober.heard(address, mac)
		}
	}
}

func (w *wire) hearEcho(_ context.Context, s *Server) error {
	buf := make([]byte, 64)
	for {
		n, from, err := w.ping.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("hear echo replies: %w", err)
		}
		if at, ok := from.(*net.IPAddr); ok && n > 0 && buf[0] == byte(ipv4.ICMPTypeEchoReply) {
			s.prober.heard(addr(at.IP), MAC{})
		}
	}
}
