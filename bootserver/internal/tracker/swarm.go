package tracker

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"swarmboot/peerd/announce"
)

const (
	// fetchersPerRack is how many machines of a rack are linked to other racks.
	// They bring the image in; the more there are, the likelier two of them fetch
	// the same piece before one has told the other. But what a rack lacks is sent
	// to it by the fetchers of another, and their links must not be the limit: in
	// the simulator 25 racks of 40 needed 1.50 of the bound for a boot with 8, 1.31
	// with 12, 1.23 with 20. If all 40 are fetchers, twice as much crosses into a
	// rack as with 20.
	fetchersPerRack = 20

	// linksAbroad is how many machines of other racks a fetcher is told of. On
	// average as many again are told of it. Eight racks of 40 needed 1.50 with one,
	// 1.32 with two.
	linksAbroad = 2

	// servedPerRack is how many fetchers of a rack are handed the seeder at a time.
	// Eight racks of 40 needed 1.32 with 4, and 1.31 if all were.
	servedPerRack = 4

	// served is how many machines are handed the seeder at a time. It tells each of
	// them of every piece that it gives: with a thousand, 2,000 simulated machines in
	// 250 racks got 376 pieces a second from it, of 477 that its link carries. Others
	// may still ask it if nobody else gives them anything.
	served = 128
)

// A swarm is the machines that boot one image, by address and by rack.
type swarm struct {
	seeder   netip.AddrPort
	members  map[netip.AddrPort]*member
	all      group
	fetchers group
	racks    map[string]*rack
	complete int
	served   int       // members that were handed the seeder and are not complete
	looked   time.Time // when silent members were last looked for
}

// A member is one machine of a swarm.
type member struct {
	address  netip.AddrPort
	rack     *rack
	heard    time.Time
	complete bool
	fetcher  bool
	served   bool
}

// A rack's fetchers are linked to other racks, its other machines to each other.
type rack struct {
	name     string
	members  group
	fetchers int
	served   int // as of the swarm
}

func newSwarm(seeder netip.AddrPort) *swarm {
	return &swarm{seeder: seeder, members: map[netip.AddrPort]*member{}, racks: map[string]*rack{}}
}

// announced takes note of what a machine in a rack says.
func (s *swarm) announced(req announce.Request, in string, now time.Time) *member {
	m := s.members[req.Address]
	if m != nil && m.rack.name != in {
		s.remove(m) // it has been moved
		m = nil
	}
	if m == nil && len(s.members) >= maxPeers {
		return nil
	}
	if m == nil {
		m = s.add(req.Address, in)
	}
	m.heard = now
	if complete := req.Left == 0; complete != m.complete {
		s.count(m, -1)
		m.complete = complete
		s.count(m, +1)
	}
	return m
}

// add makes a machine known. The first of a rack are its fetchers.
func (s *swarm) add(address netip.AddrPort, in string) *member {
	r := s.racks[in]
	if r == nil {
		r = &rack{name: in}
		s.racks[in] = r
	}
	m := &member{address: address, rack: r, fetcher: r.fetchers < fetchersPerRack}
	s.members[address] = m
	s.all.add(m)
	r.members.add(m)
	if m.fetcher {
		r.fetchers++
		s.fetchers.add(m)
	}
	return m
}

// remove forgets a machine. If it was a fetcher, the next machine of its rack
// that announces itself takes its place.
func (s *swarm) remove(m *member) {
	s.count(m, -1)
	delete(s.members, m.address)
	s.all.remove(m)
	m.rack.members.remove(m)
	if m.fetcher {
		m.rack.fetchers--
		s.fetchers.remove(m)
	}
	if len(m.rack.members) == 0 {
		delete(s.racks, m.rack.name)
	}
}

// count adds a machine to the sums, or takes it out of them.
func (s *swarm) count(m *member, n int) {
	if m.complete {
		s.complete += n
	} else if m.served {
		s.served += n
		m.rack.served += n
	}
}

// choose decides whom a machine is told about, and whether it fetches for its
// rack. The seeder comes first, for the few who shall ask it, at the address that
// the machine reaches; then machines of other racks, for a fetcher; then those of
// its own.
func (s *swarm) choose(m *member, seeder netip.AddrPort, wanted int, random *rand.Rand) []netip.AddrPort {
	var told []netip.AddrPort
	if !m.fetcher && m.rack.fetchers < fetchersPerRack {
		m.fetcher = true
		m.rack.fetchers++
		s.fetchers.add(m)
	}
	if !m.served && !m.complete && s.served < served && (m.fetcher && m.rack.served < servedPerRack || len(s.racks) == 1) {
		m.served = true
		s.count(m, +1)
	}
	if m.served {
		told = append(told, seeder)
	}
	if m.fetcher && len(s.racks) > 1 {
		told = s.fetchers.some(told, linksAbroad, random, func(o *member) bool { return o.rack != m.rack })
	}
	told = m.rack.members.some(told, wanted-len(told), random, func(o *member) bool { return o != m })
	return told[:min(wanted, len(told))]
}

// forget drops the machines that were silent for too long. Looking once a
// second is enough, and a hall that announces itself at once doesn't wait.
func (s *swarm) forget(now time.Time) {
	if now.Sub(s.looked) < time.Second {
		return
	}
	s.looked = now
	for _, m := range s.members {
		if now.Sub(m.heard) > silence {
			s.remove(m)
		}
	}
}

// A group is members in no order.
type group []*member

func (g *group) add(m *member) { *g = append(*g, m) }

func (g *group) remove(m *member) {
	last := len(*g) - 1
	if i := slices.Index(*g, m); i >= 0 {
		(*g)[i] = (*g)[last]
		*g = (*g)[:last]
	}
}

// some appends up to n members of a kind, chosen at random: it shuffles the
// group only as far as it looks.
func (g group) some(to []netip.AddrPort, n int, random *rand.Rand, kind func(*member) bool) []netip.AddrPort {
	for i := 0; i < len(g) && n > 0; i++ {
		j := i + random.IntN(len(g)-i)
		g[i], g[j] = g[j], g[i]
		if kind(g[i]) {
			to = append(to, g[i].address)
			n--
		}
	}
	return to
}
