package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"sync"
	"time"
)

const (
	holdTime       = time.Minute      // an offer stays good for this long
	quarantineTime = 10 * time.Minute // an address that a machine found in use
	writeWait      = 2 * time.Second  // machines repeat a REQUEST after four
)

var (
	// errPoolEmpty says that every address has an owner.
	errPoolEmpty = errors.New("no free address in the pool; make the pool larger or the lease time shorter")
	// errInUse says that a machine has found its address in use by another.
	errInUse = errors.New("another computer uses the address that belongs to this machine; find it and give it another one")
)

// A Pool is what addresses there are to give.
type Pool struct {
	First, Last netip.Addr
	Except      []netip.Addr       // never given: the server's own, the router's
	Reserved    map[MAC]netip.Addr // by the admin, may lie outside First..Last
	Lease       time.Duration
}

// A lease binds an address to a machine. A machine keeps its address after the
// lease has ended for as long as nobody else needs it.
type lease struct {
	Address netip.Addr `json:"address"`
	Expires time.Time  `json:"expires"` // zero: only offered so far
	held    time.Time  // end of the offer; in memory only
}

// leases knows which machine has which address. Reads are answered from
// memory; what machines have been promised is on disk before they hear of it.
type leases struct {
	pool     Pool
	reserved map[netip.Addr]MAC
	store    *store

	mu          sync.Mutex
	byMAC       map[MAC]lease            // guarded by mu
	byAddress   map[netip.Addr]MAC       // guarded by mu
	quarantined map[netip.Addr]time.Time // guarded by mu; until when
}

func newLeases(pool Pool, st *store) (*leases, error) {
	l := &leases{pool: pool, reserved: map[netip.Addr]MAC{}, store: st, byMAC: map[MAC]lease{}, byAddress: map[netip.Addr]MAC{}, quarantined: map[netip.Addr]time.Time{}}
	for mac, address := range pool.Reserved {
		l.reserved[address] = mac
	}
	known, err := st.load()
	if err != nil {
		return nil, err
	}
	for mac, entry := range known {
		// The config may have changed since: addresses that left the pool, or
		// now belong to another machine, are forgotten.
		if _, taken := l.byAddress[entry.Address]; l.usable(mac, entry.Address, time.Time{}) && !taken {
			l.byMAC[mac], l.byAddress[entry.Address] = entry, mac
		}
	}
	return l, nil
}

// offer finds the address for mac and holds it for a minute. The order makes
// one machine get one address at every stage of every boot: its reservation,
// what it had, what it asks for, a place that follows from its MAC, and at last
// the address that has been out of use longest.
func (l *leases) offer(mac MAC, wanted netip.Addr, now time.Time) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	address, err := l.choose(mac, wanted, now)
	if err != nil {
		return netip.Addr{}, err
	}
	entry := l.byMAC[mac]
	if entry.Address != address {
		entry = lease{}
	}
	entry.held = now.Add(holdTime)
	l.bind(mac, address, entry)
	return address, nil
}

func (l *leases) choose(mac MAC, wanted netip.Addr, now time.Time) (netip.Addr, error) {
	if own, ok := l.own(mac, now); ok {
		if !l.usable(mac, own, now) {
			return netip.Addr{}, fmt.Errorf("%s: %w", own, errInUse)
		}
		return own, nil
	}
	if l.usable(mac, wanted, now) && l.free(mac, wanted, now) {
		return wanted, nil
	}
	size := toNumber(l.pool.Last) - toNumber(l.pool.First) + 1
	hash := fnv.New32a()
	hash.Write(mac[:])
	start := hash.Sum32() % size
	var oldest netip.Addr
	var since time.Time
	for i := range size {
		address := fromNumber(toNumber(l.pool.First) + (start+i)%size)
		if !l.usable(mac, address, now) {
			continue
		}
		owner, owned := l.byAddress[address]
		if !owned {
			return address, nil
		}
		if expires := l.byMAC[owner].Expires; l.free(mac, address, now) && (!oldest.IsValid() || expires.Before(since)) {
			oldest, since = address, expires
		}
	}
	if !oldest.IsValid() {
		return netip.Addr{}, errPoolEmpty
	}
	return oldest, nil
}

// own is the address that belongs to mac: reserved or remembered.
func (l *leases) own(mac MAC, now time.Time) (netip.Addr, bool) {
	if address, ok := l.pool.Reserved[mac]; ok {
		return address, true
	}
	entry, ok := l.byMAC[mac]
	return entry.Address, ok && l.usable(mac, entry.Address, now)
}

// usable tells whether mac may ever have address.
func (l *leases) usable(mac MAC, address netip.Addr, now time.Time) bool {
	if !address.IsValid() || now.Before(l.quarantined[address]) {
		return false
	}
	if reserved, ok := l.pool.Reserved[mac]; ok {
		return address == reserved
	}
	if _, reserved := l.reserved[address]; reserved {
		return false
	}
	for _, except := range l.pool.Except {
		if address == except {
			return false
		}
	}
	return l.pool.First.Compare(address) <= 0 && address.Compare(l.pool.Last) <= 0
}

// free tells whether nobody but mac has a claim on address. A tenth of the lease
// time passes before an address goes to another machine: clocks differ.
func (l *leases) free(mac MAC, address netip.Addr, now time.Time) bool {
	owner, owned := l.byAddress[address]
	if !owned || owner == mac {
		return true
	}
	entry := l.byMAC[owner]
	return now.After(entry.held) && now.After(entry.Expires.Add(l.pool.Lease/10))
}

// bind gives address to mac in memory, and takes it from whoever had it.
func (l *leases) bind(mac MAC, address netip.Addr, entry lease) {
	if before, ok := l.byMAC[mac]; ok && before.Address != address {
		delete(l.byAddress, before.Address)
	}
	if owner, ok := l.byAddress[address]; ok && owner != mac {
		delete(l.byMAC, owner)
		l.store.put(change{mac: owner})
	}
	entry.Address = address
	l.byMAC[mac], l.byAddress[address] = entry, mac
}

// claim gives address to mac for the lease time if it may have it. When claim
// returns true the lease is on disk.
func (l *leases) claim(ctx context.Context, mac MAC, address netip.Addr, now time.Time) (bool, error) {
	l.mu.Lock()
	own, known := l.own(mac, now)
	if known && own != address || !l.usable(mac, address, now) || !l.free(mac, address, now) {
		l.mu.Unlock()
		return false, nil
	}
	entry := lease{Address: address, Expires: now.Add(l.pool.Lease)}
	l.bind(mac, address, entry)
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	return true, l.store.write(ctx, mac, entry)
}

// touch extends the lease of a machine that was heard in another way, when half
// of it is over.
func (l *leases) touch(mac MAC, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry, ok := l.byMAC[mac]
	if !ok || entry.Expires.IsZero() || entry.Expires.After(now.Add(l.pool.Lease/2)) {
		return
	}
	entry.Expires = now.Add(l.pool.Lease)
	l.byMAC[mac] = entry
	l.store.put(change{mac: mac, lease: &entry})
}

// release ends a lease that its machine gives back.
func (l *leases) release(mac MAC, address netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry, ok := l.byMAC[mac]; ok && entry.Address == address && entry.Expires.After(now) {
		entry.Expires = now
		l.byMAC[mac] = entry
		l.store.put(change{mac: mac, lease: &entry})
	}
}

// decline sets an address aside that its machine has found in use by another
// computer.
func (l *leases) decline(mac MAC, address netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress[address] != mac {
		return false // else anyone could empty the pool
	}
	l.quarantined[address] = now.Add(quarantineTime)
	delete(l.byMAC, mac)
	delete(l.byAddress, address)
	l.store.put(change{mac: mac})
	return true
}

// owner is the machine that has been given address.
func (l *leases) owner(address netip.Addr) (MAC, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mac, ok := l.byAddress[address]
	return mac, ok && !l.byMAC[mac].Expires.IsZero()
}

// address is what mac has been given.
func (l *leases) address(mac MAC) netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry := l.byMAC[mac]; !entry.Expires.IsZero() {
		return entry.Address
	}
	return netip.Addr{}
}

func toNumber(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func fromNumber(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
