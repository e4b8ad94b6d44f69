// Package leasestore keeps who has which address, so that it outlives the boot
// server, and beside it what else must: what is known of each machine.
//
// A Store promises three things, and leasestoretest asks them of each: what
// Claim has returned is on disk; no two machines get one address, whoever asks
// first; and what cannot be written is refused in words that name the remedy.
// Which address a machine is to have is decided elsewhere: packages dhcp and
// dhcp6 are the callers, and answer from memory all that need not be written.
//
// Bolt (bolt.go) is the Store in one file on this host, of records (record.go);
// open.go and sound.go are what happens when the file is not what it should be.
package leasestore

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// A Lease binds an address to a machine. A machine has one address of each pool.
type Lease struct {
	Pool    string     // name of the network
	Address netip.Addr //
	MAC     [6]byte    // of the machine; zero: nobody may have the address
	Expires time.Time  // until when; a past time: the machine gets it again if it is still free
}

var (
	// ErrTaken says that another machine has the address.
	ErrTaken = errors.New("another machine has the address")
	// ErrUnavailable says that nothing can be written now. The message tells
	// why, and what can be done.
	ErrUnavailable = errors.New("leases cannot be stored")
)

// A Store keeps leases. Its methods may be called at the same time.
type Store interface {
	// All lists the leases, also those that have expired: a machine that comes
	// back gets its address again.
	All(context.Context) ([]Lease, error)

	// Claim stores a lease and returns when it is stored for good. The machine's
	// former lease in the pool ends. If another machine's lease of the address
	// lasts until the time free or longer, nothing changes and the error is
	// ErrTaken; if the disk does not take it until ctx is done, ErrUnavailable.
	Claim(ctx context.Context, l Lease, free time.Time) error

	// Begin is Claim for whoever has more to do than to wait: what Claim would
	// return comes through the channel, which need not be read.
	Begin(l Lease, free time.Time) <-chan error

	// Note stores a lease that nobody waits for, such as one that was extended. It
	// takes no address from another machine, and it may get lost: the machine will
	// be heard of again.
	Note(l Lease)

	// Remember stores what is known of machines, by MAC and in a form of the
	// caller's, all or nothing; nil forgets a machine. The error is ErrUnavailable.
	Remember(states map[[6]byte][]byte) error

	// States lists what Remember has stored.
	States() (map[[6]byte][]byte, error)

	// Healthy is why leases cannot be stored at present; nil if they can.
	Healthy() error

	// Close stores what waits and ends the use of the store.
	Close() error
}
