package swarm

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"swarmboot/peerd/swarm/schedule"
)

// uplink is what the connections of a port share: it decides who may ask for a
// piece next (schedule.Turns), and whose blocks go out next. If all went at once,
// each piece would take as long as all together; one after the other, the first
// can be passed on while the others are still on their way.
type uplink struct {
	mu       sync.Mutex
	turns    schedule.Turns[*conn] // guarded by mu, like all below
	suspects []netip.Addr          // machines that are served last
	free     int                   // slots: so many more may send at the same time
	line     []chan struct{}       // who waits for a slot
}

const (
	// sendersAtOnce keeps a fast link busy while one of them waits for its
	// receiver.
	sendersAtOnce = 2

	// writeBytes is how much goes to the socket at once: a few blocks, so that few
	// system calls are made and the next sender needn't wait for long. Sixteen
	// machines needed 1.78 of the bound for a boot with twice as much and twice as
	// many senders, and 1.54 with this.
	writeBytes = 64 << 10

	// slotTime is after how long the next one sends too: a receiver that takes
	// nothing must not be what others wait for. At 6 Mbit/s two need a fifth of a
	// second for what they write at once.
	slotTime = 300 * time.Millisecond
)

func newUplink() *uplink { return &uplink{free: sendersAtOnce} }

func (u *uplink) join(c *conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turns.Join(c, int(c.session.cfg.Pieces.Length), c.far)
	if u.suspected(c) {
		u.turns.Last(u.suspected)
	}
}

// suspect replaces the machines that are served last.
func (u *uplink) suspect(machines []netip.Addr) {
	u.note(func() {
		u.suspects = machines
		u.turns.Last(u.suspected)
	})
}

// suspected tells whether the peer of a connection is one of those. u.mu is held.
func (u *uplink) suspected(c *conn) bool { return slices.Contains(u.suspects, c.address) }

// trusts tells whether what the peer of a connection gets may be believed to
// spread.
func (u *uplink) trusts(c *conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.suspected(c)
}

// note tells turns what has happened, and gives what turns there are to give.
func (u *uplink) note(happened func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	happened()
	now := time.Now()
	for c, ok := u.turns.Next(now); ok; c, ok = u.turns.Next(now) {
		c.sendOwn(turnNumber)
	}
}

func (u *uplink) leave(c *conn)            { u.note(func() { u.turns.Leave(c) }) }
func (u *uplink) pass(c *conn)             { u.note(func() { u.turns.Pass(c) }) }
func (u *uplink) sent(c *conn, bytes int)  { u.note(func() { u.turns.Sent(c, bytes) }) }
func (u *uplink) asked(c *conn, k block)   { u.note(func() { u.turns.Asked(c, k.piece, k.length) }) }
func (u *uplink) refused(c *conn, k block) { u.note(func() { u.turns.Refused(c, k.piece) }) }
func (u *uplink) expire(now time.Time)     { u.note(func() { u.turns.Expire(now) }) }

// wish tells whether the wish is news.
func (u *uplink) wish(c *conn, how schedule.Urgency) (news bool) {
	u.note(func() { news = u.turns.Wish(c, how) })
	return news
}

// slot waits until blocks may go to c, or until ended. done says that they have.
func (u *uplink) slot(c *conn, ended <-chan struct{}) (done func()) {
	u.mu.Lock()
	if u.free > 0 {
		u.free--
		u.mu.Unlock()
		return u.begin(c)
	}
	granted := make(chan struct{}, 1)
	u.line = append(u.line, granted)
	u.mu.Unlock()
	select {
	case <-granted:
	case <-ended:
		go func() { <-granted; u.give() }() // it comes within a slotTime of those before
		return func() {}
	}
	return u.begin(c)
}

// begin begins with a slot, which ends by itself.
func (u *uplink) begin(c *conn) (done func()) {
	give := sync.OnceFunc(u.give)
	timer := time.AfterFunc(slotTime, func() {
		u.note(func() { u.turns.Stuck(c) })
		give()
	})
	return func() {
		timer.Stop()
		give()
	}
}

// give lets the next one send.
func (u *uplink) give() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.line) == 0 {
		u.free++
		return
	}
	u.line[0] <- struct{}{}
	u.line = u.line[1:]
}
