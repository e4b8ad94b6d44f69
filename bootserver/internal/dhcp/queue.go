package dhcp

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	workers  = 8
	queueLen = 256 // packets of one worker that wait, of each kind
)

// queue holds the packets that wait for a worker. One machine's packets go to one
// worker, so they stay in order. When more come than can be answered, what is
// lost are DISCOVERs: machines that have begun an exchange end it, and the
// others ask again.
type queue struct {
	server *Server
	begin  [workers]chan inbound // DISCOVERs
	goOn   [workers]chan inbound // all else
}

func newQueue(s *Server) *queue {
	q := &queue{server: s}
	for i := range workers {
		q.begin[i], q.goOn[i] = make(chan inbound, queueLen), make(chan inbound, queueLen)
	}
	return q
}

// put takes a packet, or drops and counts it.
func (q *queue) put(p inbound) {
	s := q.server
	const chaddr = 28
	if len(p.data) < chaddr+6 {
		s.counters.ignored.Add(1)
		return
	}
	lane := &q.goOn
	if isDiscover(p.data) {
		lane = &q.begin
	}
	select {
	case lane[int(p.data[chaddr+5])%workers] <- p:
	default:
		if n := s.counters.dropped.Add(1); s.quiet.allow("dropped") {
			s.log.Warn("packets were dropped: more come than can be answered", "dropped", n)
		}
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

// start starts the workers, which end with run.
func (q *queue) start(run *serving) {
	for i := range workers {
		run.wg.Go(func() {
			for {
				select { // first what was begun
				case p := <-q.goOn[i]:
					q.server.answerOne(run.ctx, p)
					continue
				default:
				}
				select {
				case p := <-q.goOn[i]:
					q.server.answerOne(run.ctx, p)
				case p := <-q.begin[i]:
					q.server.answerOne(run.ctx, p)
				case <-run.ctx.Done():
					return
				}
			}
		})
	}
}

// answerOne handles one packet; a packet that makes us panic costs only itself.
func (s *Server) answerOne(ctx context.Context, p inbound) {
	defer func() {
		if fault := recover(); fault != nil {
			s.counters.failed.Add(1)
			s.log.Error("a packet was too much", "err", fault, "packet", fmt.Sprintf("%x", p.data), "stack", string(debug.Stack()))
		}
	}()
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
