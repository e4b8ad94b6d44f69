package sim

// nanos is virtual time since the beginning.
type nanos int64

// A kind says what an event does; see hall.happen.
type kind uint8

// An event is something that will happen to a machine. It is small, and holds
// no pointer: millions of them wait at a time.
type event struct {
	at    nanos
	order uint32 // among events of the same time
	kind  kind
	last  bool  // of a block: the piece is complete with it
	who   int32 // the machine
	peer  int32 // its connection
	piece int32
	bytes int32
}

// A clock is the events to come; the next one is on top of the heap.
type clock struct {
	now   nanos
	heap  []event
	count uint32
}

func (a *event) before(b *event) bool {
	return a.at < b.at || a.at == b.at && int32(a.order-b.order) < 0
}

// in lets an event happen after d.
func (c *clock) in(d nanos, e event) { c.at(c.now+d, e) }

// at lets an event happen at t.
func (c *clock) at(t nanos, e event) {
	e.at, e.order = t, c.count
	c.count++
	c.heap = append(c.heap, e)
	i := len(c.heap) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&c.heap[up]) {
			break
		}
		c.heap[i] = c.heap[up]
		i = up
	}
	c.heap[i] = e
}

// next takes the first event and moves the time to it.
func (c *clock) next() (event, bool) {
	if len(c.heap) == 0 {
		return event{}, false
	}
	first := c.heap[0]
	n := len(c.heap) - 1
	e := c.heap[n]
	c.heap = c.heap[:n]
	i := 0
	for n > 0 {
		least := 4*i + 1
		if least >= n {
			break
		}
		for child := least + 1; child < min(4*i+5, n); child++ {
			if c.heap[child].before(&c.heap[least]) {
				least = child
			}
		}
		if !c.heap[least].before(&e) {
			break
		}
		c.heap[i] = c.heap[least]
		i = least
	}
	if n > 0 {
		c.heap[i] = e
	}
	c.now = first.at
	return first, true
}
