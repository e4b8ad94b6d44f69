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
	maxBegin = 1024 // DISCOVERs that wait for a worker
	maxGoOn  = 256  // other packets at work, most of which wait for the disk
	// patience is how long a DISCOVER may have waited. The most hurried clients ask
	// again after half a second, and an answer to what they have given up is lost.
	patience = 250 * time.Millisecond
)

// queue is between the sockets and the decisions. When more comes than can be
// answered, what is lost are DISCOVERs, and of those the ones that have waited
// longest: machines that have begun an exchange end it, and the others ask again.
type queue struct {
	server *Server
	begin  chan inbound  // DISCOVERs
	goOn   chan struct{} // holds a token for each other packet at work
	run    *serving      // set by start, before a packet comes
}

func newQueue(s *Server) *queue {
	return &queue{server: s, begin: make(chan inbound, maxBegin), goOn: make(chan struct{}, maxGoOn)}
}

// put takes a packet, or drops and counts it.
func (q *queue) put(p inbound) {
	s := q.server
	const chaddr = 28
	switch {
	case len(p.data) < chaddr+6:
		s.counters.ignored.Add(1)
	case isDiscover(p.data):
		q.wait(p)
	default:
		// It may have to wait until its lease is on disk. All that wait at the same
		// time are written at once, so none waits for another.
		select {
		case q.goOn <- struct{}{}:
			q.run.wg.Go(func() {
				defer func() { <-q.goOn }()
				s.answerOne(q.run.ctx, p)
			})
		default:
			s.drop()
		}
	}
}

// wait lets a DISCOVER wait for a worker, in the place of the oldest if need be.
func (q *queue) wait(p inbound) {
	for {
		select {
		case q.begin <- p:
			return
		default:
		}
		select {
		case <-q.begin:
			q.server.drop()
		default: // a worker was faster
		}
	}
}

func (s *Server) drop() {
	if n := s.counters.dropped.Add(1); s.quiet.allow("dropped") {
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

// start starts the workers, which end with run. Nothing that they do waits, so
// there are as many as processors.
func (q *queue) start(run *serving) {
	q.run = run
	for range runtime.GOMAXPROCS(0) {
		run.wg.Go(func() {
			for {
				select {
				case p := <-q.begin:
					if time.Since(p.at) > patience {
						q.server.drop()
						continue
					}
					q.server.answerOne(run.ctx, p)
					runtime.Gosched() // first what was begun
				case <-run.ctx.Done():
					return
				}
			}
		})
	}
}

// answerOne handles one packet; a packet that makes us panic costs only itself.
func (s *Server) answerOne(ctx context.Context, p inbound) {
	defer s.survive(p)
	v := s.handle(ctx, p.data, p.from)
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
	if err := p.on.send(v.reply, v.route, p.from.port); err != nil {
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
