// Package setup asks an admin what a new boot server cannot know: which of its
// cards the machines are on, and how far it is their DHCP server.
//
// Ask (ask.go) holds the conversation; what is to be written for its answers
// is here. The command setup is the only caller, and does the writing.
package setup

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"swarmboot/bootserver"
)

// A Card is a network card of this server.
type Card struct {
	Name      string
	MAC       string
	Plugged   bool
	Addresses []netip.Prefix // IPv4, those of the link alone left out
}

// Answers are what Ask has found out.
type Answers struct {
	Card    Card
	Mode    bootserver.Mode  // Full or Proxy
	Address netip.Prefix     // the server's own on the card
	Pool    bootserver.Range // in mode Full
	Router  router           // of the network, if any
	Pages   bool             // the admin pages are for other computers too
}

func (c Card) String() string { return c.Name }

// Settings are the text of a settings file. There is no image yet, without which
// a machine cannot tell what it is.
func (a Answers) Settings() []byte {
	var b strings.Builder
	b.WriteString("# Written by 'swarmboot setup'. Every key: /usr/share/doc/swarmboot/docs/settings.md.\n")
	b.WriteString("\n# Once there is an image, machines that are not listed can tell what they are, and wait:\n")
	b.WriteString("# unknown: discover\n# defaults: {image: lab@1}\nunknown: deny\n")
	if a.Pages {
		b.WriteString("\nadmin:\n  listen: 0.0.0.0:8470\n")
	}
	fmt.Fprintf(&b, "\nnetworks:\n  lab:\n    interface: %s\n    address: %s\n", a.Card.Name, a.Address)
	if a.Mode == bootserver.Full {
		fmt.Fprintf(&b, "    pool: %s\n", a.Pool)
	} else {
		fmt.Fprintf(&b, "    mode: %s\n", a.Mode)
	}
	if a.Router.IsValid() && a.Mode == bootserver.Full {
		fmt.Fprintf(&b, "    router: %s\n", a.Router)
	}
	b.WriteString("\nmachines:\n")
	return []byte(b.String())
}

// Network is the text of a systemd-networkd file by which the card has the
// server's address, also before a cable is plugged in. Its router is the last
// choice of the server itself: most have another card for the rest of the world.
func (a Answers) Network() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by 'swarmboot setup': the machines' network.\n[Match]\nPermanentMACAddress=%s\n", a.Card.MAC)
	fmt.Fprintf(&b, "\n[Network]\nAddress=%s\nConfigureWithoutCarrier=yes\n", a.Address)
	if a.Router.IsValid() {
		fmt.Fprintf(&b, "\n[Route]\nGateway=%s\nMetric=4096\n", a.Router)
	}
	return []byte(b.String())
}

// HasAddress tells whether the card has the address already.
func (a Answers) HasAddress() bool { return slices.Contains(a.Card.Addresses, a.Address) }

// proposedPool is a hundred addresses of the network, or all where it is small,
// but not the server's.
func proposedPool(server netip.Prefix) bootserver.Range {
	network := server.Masked()
	size := uint64(1) << (32 - network.Bits())
	first, last := uint64(1), size-2 // without the network's and the broadcast address
	if size > 200 {
		first, last = 100, 199
	}
	own := offset(network, server.Addr())
	if own >= first && own <= last { // the longer of the two parts beside it
		if own-first > last-own {
			last = own - 1
		} else {
			first = own + 1
		}
	}
	return bootserver.Range{First: at(network, first), Last: at(network, last)}
}

// offset is the number of the address within the network; at is its reverse.
func offset(network netip.Prefix, addr netip.Addr) uint64 {
	return number(addr) - number(network.Addr())
}

func at(network netip.Prefix, n uint64) netip.Addr {
	v := number(network.Addr()) + n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func number(addr netip.Addr) uint64 {
	b := addr.As4()
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

// likely is the number of the card that the machines are on, probably: one that
// is plugged in and has no address, since nobody is there yet to give one.
func likely(cards []Card) int {
	rank := func(c Card) int {
		r := 0
		if len(c.Addresses) > 0 {
			r += 2
		}
		if !c.Plugged {
			r++
		}
		return r
	}
	best := slices.MinFunc(cards, func(a, b Card) int { return cmp.Compare(rank(a), rank(b)) })
	return slices.IndexFunc(cards, func(c Card) bool { return c.Name == best.Name })
}
