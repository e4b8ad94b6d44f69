package dhcp6

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"sync"
	"time"

	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/internal/leasestore"
)

const (
	quarantine = 10 * time.Minute // an address that a machine found in use
	writeWait  = 2 * time.Second
	attempts   = 1 << 16 // addresses looked at for a free one
)

var errPoolEmpty = errors.New("no free IPv6 address in the pool; make pool6 larger or the lease time shorter")

// addresses know which machine has which address of a network. One machine gets
// one address at every stage of every boot: its reservation, what it had, or a
// place in the pool that follows from its MAC.
type addresses struct {
	network  Network
	reserved map[netip.Addr]dhcp.MAC
	store    leasestore.Store
	*held
}

// held is who has which address. It outlasts a reload.
type held struct {
	pool string // the name under which leases are stored

	mu        sync.Mutex
	byMAC     map[dhcp.MAC]netip.Addr         // guarded by mu
	byAddress map[netip.Addr]leasestore.Lease // guarded by mu; of no machine: set aside
}

// newHeld picks the leases of a network out of all.
func newHeld(network string, known []leasestore.Lease) *held {
	h := &held{pool: network + " IPv6", byMAC: map[dhcp.MAC]netip.Addr{}, byAddress: map[netip.Addr]leasestore.Lease{}}
	for _, l := range known {
		if l.Pool == h.pool {
			h.note(l)
		}
	}
	return h
}

func newAddresses(n Network, store leasestore.Store, who *held) *addresses {
	a := &addresses{network: n, reserved: map[netip.Addr]dhcp.MAC{}, store: store, held: who}
	for mac, address := range n.Reserved {
		a.reserved[address] = mac
	}
	return a
}

func (h *held) note(l leasestore.Lease) {
	if l.MAC != (dhcp.MAC{}) {
		if before, ok := h.byMAC[l.MAC]; ok && before != l.Address {
			delete(h.byAddress, before)
		}
		h.byMAC[l.MAC] = l.Address
	}
	if before, ok := h.byAddress[l.Address]; ok && before.MAC != l.MAC {
		delete(h.byMAC, before.MAC)
	}
	h.byAddress[l.Address] = l
}

// offer finds the address for mac. It promises nothing: claim does.
func (a *addresses) offer(mac dhcp.MAC, now time.Time) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.choose(mac, now)
}

// choose does so. a.mu is held.
func (a *addresses) choose(mac dhcp.MAC, now time.Time) (netip.Addr, error) {
	if address, ok := a.network.Reserved[mac]; ok {
		return address, nil
	}
	if address, ok := a.byMAC[mac]; ok && a.usable(mac, address, now) {
		return address, nil
	}
	if !a.network.First.IsValid() {
		return netip.Addr{}, errPoolEmpty
	}
	size := distance(a.network.First, a.network.Last)
	hash := fnv.New64a()
	hash.Write(mac[:])
	start := hash.Sum64()
	for i := range uint64(attempts) {
		place := start + i
		if size != math.MaxUint64 {
			place %= size + 1
		}
		if address := plus(a.network.First, place); a.usable(mac, address, now) {
			return address, nil
		}
		if i == size {
			break
		}
	}
	return netip.Addr{}, errPoolEmpty
}

// usable tells whether mac may have an address of the pool now.
func (a *addresses) usable(mac dhcp.MAC, address netip.Addr, now time.Time) bool {
	if address == a.network.Server || address.Less(a.network.First) || a.network.Last.Less(address) {
		return false
	}
	if owner, ok := a.reserved[address]; ok && owner != mac {
		return false
	}
	l, taken := a.byAddress[address]
	return !taken || l.MAC == mac || l.Expires.Before(a.free(now))
}

// free is when a lease must have ended for its address to go to another
// machine: a tenth of the lease time ago, since clocks differ.
func (a *addresses) free(now time.Time) time.Time { return now.Add(-a.network.Lease / 10) }

// claim gives mac its address for the lease time. When it returns one without an
// error, the lease is on disk, or the machine had the address before and the disk
// cannot be written, which must not stop a machine that is known.
func (a *addresses) claim(ctx context.Context, mac dhcp.MAC, now time.Time) (netip.Addr, error) {
	a.mu.Lock()
	address, err := a.choose(mac, now)
	if err != nil {
		a.mu.Unlock()
		return netip.Addr{}, err
	}
	before := a.byAddress[address]
	l := leasestore.Lease{Pool: a.pool, Address: address, MAC: mac, Expires: now.Add(a.network.Lease)}
	a.note(l) // nobody else is to choose it meanwhile
	a.mu.Unlock()

	known, free := before.MAC == mac && before.Expires.After(now), a.free(now)
	if _, reserved := a.network.Reserved[mac]; reserved {
		known, free = true, l.Expires.AddDate(100, 0, 0) // the admin has decided
	}
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	err = a.store.Claim(ctx, l, free)
	switch {
	case err == nil, known && !errors.Is(err, leasestore.ErrTaken):
		return address, nil
	case errors.Is(err, leasestore.ErrTaken):
		a.decline(mac, address, now) // another server's, perhaps: the machine is to have another one
	default:
		a.unclaim(l)
	}
	return netip.Addr{}, fmt.Errorf("%s: %w", address, err)
}

// unclaim forgets a lease that is not on disk.
func (a *addresses) unclaim(l leasestore.Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byAddress[l.Address] == l {
		delete(a.byAddress, l.Address)
		delete(a.byMAC, l.MAC)
	}
}

// decline sets an address aside that its machine, or the store, has found in use.
func (a *addresses) decline(mac dhcp.MAC, address netip.Addr, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byAddress[address].MAC != mac || a.byMAC[mac] != address {
		return false // else anyone could empty the pool
	}
	delete(a.byMAC, mac)
	a.byAddress[address] = leasestore.Lease{Pool: a.pool, Address: address, Expires: now.Add(quarantine)}
	return true
}

func (a *addresses) owner(address netip.Addr) (dhcp.MAC, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, ok := a.byAddress[address]
	return l.MAC, ok && l.MAC != dhcp.MAC{}
}

// distance is how far b is from a, as far as their last 64 bits tell.
func distance(a, b netip.Addr) uint64 { return low(b) - low(a) }

func low(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// plus is the address n places after a in its /64.
func plus(a netip.Addr, n uint64) netip.Addr {
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], low(a)+n)
	return netip.AddrFrom16(b)
}
