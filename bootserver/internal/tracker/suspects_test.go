package tracker

import (
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/peerd/announce"
)

// numbered is the address of a machine.
func numbered(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, n}) }

// ban has a machine announce whom it has banned.
func ban(tr *Tracker, from byte, banned ...byte) {
	r := announce.Request{InfoHash: image, Address: netip.AddrPortFrom(numbered(from), 6881), Left: 1}
	for _, n := range banned {
		r.Banned = append(r.Banned, numbered(n))
	}
	tr.Announce(r, time.Now())
}

func TestSuspects(t *testing.T) {
	for _, c := range []struct {
		what string
		say  func(*Tracker)
		want []Suspect
	}{
		{"nobody says anything", func(tr *Tracker) { ban(tr, 1) }, nil},
		{"one machine alone, however often", func(tr *Tracker) { ban(tr, 1, 9); ban(tr, 1, 9); ban(tr, 1, 9, 9) }, nil},
		{"several", func(tr *Tracker) { ban(tr, 2, 9); ban(tr, 1, 9) }, []Suspect{{numbered(9), []netip.Addr{numbered(1), numbered(2)}}}},
		{"one takes it back", func(tr *Tracker) { ban(tr, 1, 9); ban(tr, 2, 9); ban(tr, 2) }, nil},
		{"several whose own memory is damaged", func(tr *Tracker) { ban(tr, 1, 4, 5, 6, 7); ban(tr, 2, 4, 5, 6, 7) }, nil},
		{"a machine of itself", func(tr *Tracker) { ban(tr, 1, 9); ban(tr, 9, 9) }, nil},
	} {
		tr := open()
		c.say(tr)
		if got := tr.Suspects(time.Now()); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: Suspects() = %v; want %v", c.what, got, c.want)
		}
	}
}

// Those who have spoken and are gone say nothing any more.
func TestSuspectsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := open()
		ban(tr, 1, 9)
		ban(tr, 2, 9)
		if got := tr.Suspects(time.Now()); len(got) != 1 {
			t.Errorf("Suspects() = %v; want one", got)
		}
		time.Sleep(silence + time.Second)
		ban(tr, 1, 9)
		if got := tr.Suspects(time.Now()); len(got) != 0 {
			t.Errorf("Suspects() after one has fallen silent = %v; want none", got)
		}
	})
}
