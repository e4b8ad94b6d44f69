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

	"swarmboot/bootserver/internal/leasestore"
)

const (
	holdTime       = time.Minute      // an offer stays good for this long
	quarantineTime = 10 * time.Minute // an address that a machine found in use
	writeWait      = 2 * time.Second  // machines repeat a REQUEST after four
)

var (
	// errPoolEmpty says that every address has an owner.
	errPoolEmpty = errors.New("no free address in the pool; make the pool larger or the lease time shorter")
	// errNoPool says that only machines with an address of their own get one.
	errNoPool = errors.New("the machine has no address of its own, and the network has no pool; give it either")
	// errInUse says that a machine has found its address in use by another.
	errInUse = errors.New("another computer uses the address that belongs to this machine; find it and give it another one")
)

// A Pool is what addresses there are to give in one network.
type Pool struct {
	First, Last netip.Addr         // may be invalid: reserved addresses only
	Except      []netip.Addr       // never given: the server's own, the router's
	Reserved    map[MAC]netip.Addr // by the admin, may lie outside First..Last
	Lease       time.Duration
}

// A lease binds an address to a machine. A machine keeps its address after the
// lease has ended for as long as nobody else needs it. There are tens of thousands:
// they are small, and have no pointers for the garbage collector to follow.
type lease struct {
	MAC     MAC
	Expires moment // zero: only offered so far

	held   moment // end of the offer; in memory only
	unseen bool   // nobody has looked yet whether another computer uses it; in memory only
}

// A moment is a time.Time in a third of the room: nanoseconds since 1970.
type moment int64

func momentOf(t time.Time) moment { return moment(t.UnixNano()) }

func (m moment) time() time.Time { return time.Unix(0, int64(m)) }

// A key is an IPv4 address in a sixth of the room of a netip.Addr.
type key [4]byte

// keyOf is zero, which nobody has, for what is no IPv4 address.
func keyOf(a netip.Addr) key {
	if !a.Is4() {
		return key{}
	}
	return a.As4()
}

func (k key) addr() netip.Addr { return netip.AddrFrom4(k) }

// leases knows which machine has which address of one network. Reads are
// answered from memory; what machines have been promised is on disk before they
// hear of it.
type leases struct {
	name  string // of the pool in the store
	store leasestore.Store

	mu          sync.Mutex
	pool        Pool                     // guarded by mu
	reserved    map[netip.Addr]MAC       // guarded by mu; pool.Reserved the other way round
	byMAC       map[MAC]key              // guarded by mu
	byAddress   map[key]lease            // guarded by mu
	quarantined map[netip.Addr]time.Time // guarded by mu; until when
}

// newLeases begins with what is known from before. Addresses of other networks
// among it are left to those.
func newLeases(name string, pool Pool, known map[key]lease, st leasestore.Store) *leases {
	l := &leases{name: name, store: st, byMAC: map[MAC]key{}, byAddress: known, quarantined: map[netip.Addr]time.Time{}}
	l.setPool(pool)
	return l
}

// setPool changes what there is to give. Leases on addresses that left the pool,
// or that now belong to another machine, are forgotten.
func (l *leases) setPool(pool Pool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool, l.reserved = pool, make(map[netip.Addr]MAC, len(pool.Reserved))
	for mac, address := range pool.Reserved {
		l.reserved[address] = mac
	}
	before := l.byAddress
	l.byMAC, l.byAddress = make(map[MAC]key, len(before)), make(map[key]lease, len(before))
	for address, entry := range before {
		if !l.usable(entry.MAC, address.addr(), time.Time{}) {
			continue
		}
		// A crash may have left two: the later one counts.
		if other, twice := l.byMAC[entry.MAC]; twice {
			if l.byAddress[other].Expires > entry.Expires {
				continue
			}
			delete(l.byAddress, other)
		}
		l.byMAC[entry.MAC], l.byAddress[address] = address, entry
	}
}

// offer finds the address for mac and holds it for a minute. The order makes
// one machine get one address at every stage of every boot: its reservation,
// what it had, what it asks for, a place that follows from its MAC, and at last
// the address that has been out of use longest. An unseen address is one that mac
// did not have before, is not reserved for it, and has not been proved.
func (l *leases) offer(mac MAC, wanted netip.Addr, now time.Time) (address netip.Addr, unseen bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if address, err = l.choose(mac, wanted, now); err != nil {
		return netip.Addr{}, false, err
	}
	entry, known := l.byAddress[keyOf(address)]
	if !known || entry.MAC != mac {
		_, reserved := l.pool.Reserved[mac]
		entry = lease{MAC: mac, unseen: !reserved}
	}
	entry.held = momentOf(now.Add(holdTime))
	l.bind(keyOf(address), entry)
	return address, entry.unseen, nil
}

// prove notes that address was looked for on the wire, and is not in use.
func (l *leases) prove(address netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry, ok := l.byAddress[keyOf(address)]; ok {
		entry.unseen = false
		l.byAddress[keyOf(address)] = entry
	}
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
	if !l.pool.First.IsValid() {
		return netip.Addr{}, errNoPool
	}
	size := toNumber(l.pool.Last) - toNumber(l.pool.First) + 1
	hash := fnv.New32a()
	hash.Write(mac[:])
	start := hash.Sum32() % size
	var oldest netip.Addr
	var since moment
	for i := range size {
		address := fromNumber(toNumber(l.pool.First) + (start+i)%size)
		if !l.usable(mac, address, now) {
			continue
		}
		entry, owned := l.byAddress[keyOf(address)]
		if !owned {
			return address, nil
		}
		if l.free(mac, address, now) && (!oldest.IsValid() || entry.Expires < since) {
			oldest, since = address, entry.Expires
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
	k, ok := l.byMAC[mac]
	return k.addr(), ok && l.usable(mac, k.addr(), now)
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
	return l.pool.First.IsValid() && l.pool.First.Compare(address) <= 0 && address.Compare(l.pool.Last) <= 0
}

// free tells whether nobody but mac has a claim on address. A tenth of the lease
// time passes before an address goes to another machine: clocks differ.
func (l *leases) free(mac MAC, address netip.Addr, now time.Time) bool {
	entry, owned := l.byAddress[keyOf(address)]
	if !owned || entry.MAC == mac {
		return true
	}
	return now.After(entry.held.time()) && now.After(entry.Expires.time().Add(l.pool.Lease/10))
}

// bind gives address to the entry's machine in memory, and takes it from whoever
// had it.
func (l *leases) bind(address key, entry lease) {
	if before, ok := l.byMAC[entry.MAC]; ok && before != address {
		delete(l.byAddress, before)
	}
	if owner, ok := l.byAddress[address]; ok && owner.MAC != entry.MAC {
		delete(l.byMAC, owner.MAC)
	}
	l.byMAC[entry.MAC], l.byAddress[address] = address, entry
}

// A claim is a lease that is on its way to the disk.
type claim struct {
	*leases
	lease
	address netip.Addr
	begun   time.Time
	sure    bool // nobody else can get the address, stored or not
	stored  <-chan error
	until   time.Time // when it is no longer waited for
}

// claim gives address to mac for the lease time if it may have it; nil: it may not.
// The machine may hear of that once the claim is settled.
func (l *leases) claim(mac MAC, address netip.Addr, now time.Time) *claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, known := l.own(mac, now)
	if known && own != address || !l.usable(mac, address, now) || !l.free(mac, address, now) {
		return nil
	}
	before := l.byAddress[keyOf(address)]
	running := before.MAC == mac && before.Expires.time().After(now)
	entry := lease{MAC: mac, Expires: momentOf(now.Add(l.pool.Lease))}
	l.bind(keyOf(address), entry)
	free := now.Add(-l.pool.Lease / 10) // as in the method free
	_, reserved := l.pool.Reserved[mac]
	if reserved {
		free = now.AddDate(100, 0, 0) // the admin has decided
	}
	return &claim{l, entry, address, now, reserved || running, l.store.Begin(l.stored(address, entry), free), time.Now().Add(writeWait)}
}

// settle waits until the lease is on disk, and tells whether the machine has it.
func (c *claim) settle(ctx context.Context) (bool, error) {
	err := c.wait(ctx)
	switch {
	case errors.Is(err, leasestore.ErrTaken):
		// What is stored knows more than we: another server's lease, perhaps. The
		// machine is to be offered something else.
		c.decline(c.MAC, c.address, c.begun)
		return false, nil
	case err != nil && c.sure:
		// A full disk must not stop machines that are known; the store says in the
		// log what is wrong with it.
		return true, nil
	case err != nil:
		c.undo()
		return false, err
	}
	return true, nil
}

func (c *claim) wait(ctx context.Context) error {
	select {
	case err := <-c.stored: // together with one before it, as most are
		return err
	default:
	}
	late := time.NewTimer(time.Until(c.until))
	defer late.Stop()
	select {
	case err := <-c.stored:
		return err
	case <-late.C:
		return fmt.Errorf("%w: the disk takes longer than %v", leasestore.ErrUnavailable, writeWait)
	case <-ctx.Done():
		return fmt.Errorf("%w: the boot server is stopping", leasestore.ErrUnavailable)
	}
}

// undo makes a lease that is not on disk the offer that it was before, lest the
// machine count as known when it asks again.
func (c *claim) undo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := keyOf(c.address); c.byAddress[at] == c.lease {
		c.byAddress[at] = lease{MAC: c.MAC, held: momentOf(c.begun.Add(holdTime))}
	}
}

// stored is the entry as the store keeps it.
func (l *leases) stored(address netip.Addr, entry lease) leasestore.Lease {
	return leasestore.Lease{Pool: l.name, Address: address, MAC: entry.MAC, Expires: entry.Expires.time()}
}

// learn notes an address that another server has given to mac.
func (l *leases) learn(mac MAC, address netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.usable(mac, address, now) {
		return
	}
	entry := lease{MAC: mac, Expires: momentOf(now.Add(l.pool.Lease))}
	l.bind(keyOf(address), entry)
	l.store.Note(l.stored(address, entry))
}

// touch extends the lease of a machine that was heard in another way, when half
// of it is over.
func (l *leases) touch(mac MAC, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	address := l.byMAC[mac]
	entry := l.byAddress[address]
	if entry.Expires == 0 || entry.Expires.time().After(now.Add(l.pool.Lease/2)) {
		return
	}
	entry.Expires = momentOf(now.Add(l.pool.Lease))
	l.byAddress[address] = entry
	l.store.Note(l.stored(address.addr(), entry))
}

// release ends a lease that its machine gives back.
func (l *leases) release(mac MAC, address netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry := l.byAddress[keyOf(address)]; entry.MAC == mac && entry.Expires.time().After(now) {
		entry.Expires = momentOf(now)
		l.byAddress[keyOf(address)] = entry
		l.store.Note(l.stored(address, entry))
	}
}

// decline sets an address aside that its machine, or our probe before the offer,
// has found in use by another computer.
func (l *leases) decline(mac MAC, address netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry, ok := l.byAddress[keyOf(address)]; !ok || entry.MAC != mac {
		return false // else anyone could empty the pool
	}
	l.quarantined[address] = now.Add(quarantineTime)
	delete(l.byMAC, mac)
	delete(l.byAddress, keyOf(address))
	// In the store the lease has ended so long ago that the address is anybody's.
	l.store.Note(l.stored(address, lease{MAC: mac, Expires: momentOf(now.Add(-l.pool.Lease))}))
	return true
}

// owner is the machine that has been given address.
func (l *leases) owner(address netip.Addr) (MAC, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := l.byAddress[keyOf(address)]
	return entry.MAC, entry.Expires != 0
}

// address is what mac has been given.
func (l *leases) address(mac MAC) netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	address, ok := l.byMAC[mac]
	if !ok || l.byAddress[address].Expires == 0 {
		return netip.Addr{}
	}
	return address.addr()
}

// given lists the leases, in no order.
func (l *leases) given() []Given {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Given
	for address, entry := range l.byAddress {
		if entry.Expires != 0 {
			all = append(all, Given{entry.MAC, address.addr(), entry.Expires.time()})
		}
	}
	return all
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
