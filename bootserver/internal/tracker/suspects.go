package tracker

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// witnesses is how many machines must say of another that it sends wrong bytes,
	// until it is believed: one that lies, or whose own memory is damaged, brings
	// nobody under suspicion.
	witnesses = 2

	// credible is how many others a machine may say that of. To one with damaged
	// memory what anybody sends is wrong: it speaks of them all, and of itself.
	credible = 3
)

// A Suspect is a machine that sends wrong bytes, by the word of others.
type Suspect struct {
	Machine netip.Addr
	By      []netip.Addr // machines that have banned it, in order
}

// A testimony is whom a machine has banned, and when it last said so.
type testimony struct {
	banned []netip.Addr
	heard  time.Time
}

// testimonies are those of all machines, by their address. Each replaces the last
// of its machine, and holds for as long as a silent peer is remembered.
type testimonies map[netip.Addr]testimony

func (all testimonies) hear(from netip.Addr, banned []netip.Addr, now time.Time) {
	if len(banned) == 0 {
		delete(all, from)
		return
	}
	all[from] = testimony{banned, now}
}

// suspects are whom enough credible machines have banned, in the order of their
// addresses.
func (all testimonies) suspects(now time.Time) (suspects []Suspect) {
	by := make(map[netip.Addr][]netip.Addr)
	for from, said := range all {
		if now.Sub(said.heard) > silence {
			delete(all, from)
			continue
		}
		banned := slices.Compact(slices.SortedFunc(slices.Values(said.banned), netip.Addr.Compare))
		if len(banned) > credible {
			continue
		}
		for _, machine := range banned {
			if machine != from {
				by[machine] = append(by[machine], from)
			}
		}
	}
	for _, machine := range slices.SortedFunc(maps.Keys(by), netip.Addr.Compare) {
		if who := by[machine]; len(who) >= witnesses {
			slices.SortFunc(who, netip.Addr.Compare)
			suspects = append(suspects, Suspect{machine, who})
		}
	}
	return suspects
}
