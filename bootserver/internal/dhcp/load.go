package dhcp

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	// patience is how long a DISCOVER may have waited. The most hurried clients ask
	// again after half a second, and then an answer to what they have given up is
	// lost work.
	patience = 250 * time.Millisecond
	// behind is how long packets wait in the socket when more come than one
	// processor answers.
	behind = 2 * time.Millisecond
	// maxWaiting bounds the DISCOVERs that wait for a worker: as many as can be
	// answered before the last of them has waited too long.
	maxWaiting = 2048
	// maxUnsettled bounds the REQUESTs whose leases are on their way to the disk.
	// What comes meanwhile waits in the socket.
	maxUnsettled = 512
)

// admit answers a packet, or drops and counts it. When more comes than can be
// answered, what is lost are the DISCOVERs that have waited longest: machines that
// have begun an exchange end it, and the others ask again.
func (s *Server) admit(ctx context.Context, p inbound) {
	const chaddr = 28
	age := time.Since(p.at)
	switch {
	case len(p.data) < chaddr+6:
		s.counters.ignored.Add(1)
	case !isDiscover(p.data):
		s.answerOne(ctx, p) // first what was begun
	case age < behind:
		s.answerOne(ctx, p) // to wake a worker costs as much again
	case age > patience:
		s.drop(1)
	default:
		s.enqueue(p)
	}
}

// enqueue lets a DISCOVER wait for a worker, in the place of the oldest if need be.
func (s *Server) enqueue(p inbound) {
	for {
		select {
		case s.waiting <- p:
			return
		default:
		}
		select {
		case <-s.waiting:
			s.drop(1)
		default: // a worker was faster
		}
	}
}

// work answers DISCOVERs that wait, until ctx is done. As many workers run as
// there are processors, for nothing that they do waits.
func (s *Server) work(ctx context.Context) {
	for {
		select {
		case p := <-s.waiting:
			if time.Since(p.at) > patience {
				s.drop(1)
				continue
			}
			s.answerOne(ctx, p)
			runtime.Gosched() // first what was begun
		case <-ctx.Done():
			return
		}
	}
}

// drop counts packets that get no answer.
func (s *Server) drop(n int64) {
	if n := s.counters.dropped.Add(n); s.quiet.allow("dropped") {
		s.log.Warn("packets were dropped: more come than can be answered", "dropped", n)
	}
}

// isDiscover looks for the message type in a packet that is not checked yet.
func isDiscover(data []byte) bool {
	const options = 240
	for rest := data[min(options, len(data)):]; len(rest) >= 3; {
		switch {
		case rest[0] == 0:
			rest = rest[1:]
		case rest[0] == dhcpv4.OptionDHCPMessageType.Code():
			return rest[2] == byte(dhcpv4.MessageTypeDiscover)
		default:
			rest = rest[min(2+int(rest[1]), len(rest)):]
		}
	}
	return false
}

// An unsettled packet is a REQUEST whose lease is on its way to the disk.
type unsettled struct {
	verdict
	inbound
}

// settle answers REQUESTs in the order in which their leases come to the disk,
// until ctx is done. All that wait at the same time are written at once, so none
// waits long for another.
func (s *Server) settle(ctx context.Context) {
	for {
		select {
		case u := <-s.unsettled:
			s.settleOne(ctx, u)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) settleOne(ctx context.Context, u unsettled) {
	defer s.survive(u.inbound)
	s.conclude(u.decide(u.claim.settle(ctx)), u.inbound)
}

// answerOne handles one packet; a packet that makes us panic costs only itself.
func (s *Server) answerOne(ctx context.Context, p inbound) {
	defer s.survive(p)
	v := s.handle(p.data, p.from)
	if v.claim == nil {
		s.conclude(v, p)
		return
	}
	select {
	case s.unsettled <- unsettled{v, p}:
	case <-ctx.Done():
	}
}

// conclude does what was decided about a packet.
func (s *Server) conclude(v verdict, p inbound) {
	switch {
	case v.failed:
		s.counters.failed.Add(1)
		return
	case v.reply == nil:
		s.counters.ignored.Add(1)
		return
	case v.suspect.IsValid() && s.prober.ask(v, p):
		return
	}
	s.deliver(v, p)
}

// survive is deferred by whoever works at a packet.
func (s *Server) survive(p inbound) {
	if fault := recover(); fault != nil {
		s.counters.failed.Add(1)
		s.log.Error("a packet was too much", "err", fault, "packet", fmt.Sprintf("%x", p.data), "stack", string(debug.Stack()))
	}
}

// deliver sends the reply to a packet.
func (s *Server) deliver(v verdict, p inbound) {
	if err := p.on.send(v.reply, v.network.Server, v.route, p.from.port); err != nil {
		s.counters.failed.Add(1)
		if s.quiet.allow("send " + err.Error()) {
			s.log.Warn("answer was not sent", "machine", v.reply.ClientHWAddr.String(), "err", err)
		}
		return
	}
	s.counters.answered(v.reply.MessageType())
	if v.done != nil {
		v.done()
	}
}

// Stats counts packets since the server began.
type Stats struct {
	Received int64 `json:"received"`
	Ignored  int64 `json:"ignored"` // deserved no answer
	Dropped  int64 `json:"dropped"` // more came than could be answered
	Failed   int64 `json:"failed"`  // deserved an answer that could not be given
	Offers   int64 `json:"offers"`
	Acks     int64 `json:"acks"`
	Naks     int64 `json:"naks"`
	InUse    int64 `json:"in_use"` // addresses that another computer was found to use
}

type counters struct {
	received, ignored, dropped, failed, offers, acks, naks, inUse atomic.Int64
}

func (c *counters) answered(kind dhcpv4.MessageType) {
	switch kind {
	case dhcpv4.MessageTypeOffer:
		c.offers.Add(1)
	case dhcpv4.MessageTypeAck:
		c.acks.Add(1)
	case dhcpv4.MessageTypeNak:
		c.naks.Add(1)
	}
}

// Stats counts what has been done so far.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{
		Received: c.received.Load(), Ignored: c.ignored.Load(), Dropped: c.dropped.Load(), Failed: c.failed.Load(),
		Offers: c.offers.Load(), Acks: c.acks.Load(), Naks: c.naks.Load(), InUse: c.inUse.Load(),
	}
}
