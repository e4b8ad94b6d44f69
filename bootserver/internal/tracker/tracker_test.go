package tracker

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/peerd/announce"
)

var (
	image  = [20]byte{'i', 'm', 'a', 'g', 'e'}
	seeder = netip.MustParseAddrPort("10.77.0.1:6881")
	m1, m2 = netip.MustParseAddrPort("10.77.0.11:6881"), netip.MustParseAddrPort("10.77.0.12:6881")
)

func open() *Tracker {
	tr := New(func(netip.Addr) string { return "" }, 1, slog.New(slog.DiscardHandler))
	tr.Open(image, seeder)
	return tr
}

func say(tr *Tracker, from netip.AddrPort, event string, left int64) announce.Response {
	answer, _ := tr.Announce(announce.Request{InfoHash: image, Address: from, Event: event, Left: left, Wanted: 50}, time.Now())
	return answer
}

func TestPeersLearnOfEachOther(t *testing.T) {
	tr := open()
	if got := say(tr, m1, announce.Started, 9).Peers; !slices.Equal(got, []netip.AddrPort{seeder}) {
		t.Errorf("first peer is told %v; want the seeder", got)
	}
	got := say(tr, m2, announce.Started, 9)
	if !slices.Equal(got.Peers, []netip.AddrPort{seeder, m1}) || got.Incomplete != 2 || got.Complete != 1 {
		t.Errorf("second peer is told %+v; want the seeder, then m1", got)
	}
	if got := say(tr, m2, announce.Completed, 0); got.Complete != 2 || got.Incomplete != 1 {
		t.Errorf("after completion: %+v; want 2 complete, 1 not", got)
	}
	if got := say(tr, seeder, announce.Started, 0).Peers; len(got) != 2 || slices.Contains(got, seeder) {
		t.Errorf("seeder is told %v; want m1 and m2", got)
	}
	say(tr, m1, announce.Stopped, 9)
	if got := say(tr, m2, "", 0).Peers; !slices.Equal(got, []netip.AddrPort{seeder}) {
		t.Errorf("after m1 stopped m2 is told %v; want the seeder", got)
	}
}

// In a hall of racks each machine knows its rack; a few of each know machines of
// other racks, and a few of those the seeder.
func TestRacks(t *testing.T) {
	const racks, size = 20, 30
	rackOf := func(a netip.Addr) string { return string(rune('a' + a.As4()[2])) }
	tr := New(rackOf, 1, slog.New(slog.DiscardHandler))
	tr.Open(image, seeder)
	var machines []netip.AddrPort
	for i := range size {
		for r := range racks {
			machines = append(machines, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 78, byte(r), byte(i)}), 6881))
		}
	}
	for _, m := range machines {
		say(tr, m, announce.Started, 9)
	}
	abroad, withSeeder := map[string]int{}, 0
	for _, m := range machines {
		mates := 0
		fetches := false
		for _, p := range say(tr, m, "", 9).Peers {
			switch {
			case p == seeder:
				withSeeder++
			case rackOf(p.Addr()) == rackOf(m.Addr()):
				mates++
			default:
				fetches = true
			}
		}
		if mates != size-1 {
			t.Errorf("%v is told of %d machines of its rack; want the other %d", m, mates, size-1)
		}
		if fetches {
			abroad[rackOf(m.Addr())]++
		}
	}
	for r, n := range abroad {
		if n != fetchersPerRack {
			t.Errorf("rack %s has %d fetchers; want %d", r, n, fetchersPerRack)
		}
	}
	if len(abroad) != racks || withSeeder != racks*servedPerRack {
		t.Errorf("%d racks have fetchers and %d machines the seeder; want %d and %d", len(abroad), withSeeder, racks, racks*servedPerRack)
	}
	// A fetcher that leaves is replaced by the next machine that asks.
	say(tr, machines[0], announce.Stopped, 9)
	if got := say(tr, machines[racks*(size-1)], "", 9).Peers; !slices.ContainsFunc(got, func(p netip.AddrPort) bool { return rackOf(p.Addr()) != "a" }) {
		t.Errorf("after a fetcher left, the last machine of its rack is told %v; want machines of other racks", got)
	}
}

// The seeder is handed to so many machines. One that is complete gives its
// place to another.
func TestSeederHasRoomForSoMany(t *testing.T) {
	tr := open()
	machine := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 79, byte(i >> 8), byte(i)}), 6881)
	}
	for i := range served {
		if got := say(tr, machine(i), announce.Started, 9).Peers; got[0] != seeder {
			t.Fatalf("machine %d is told of %v; want the seeder first", i, got)
		}
	}
	if got := say(tr, machine(served), announce.Started, 9).Peers; slices.Contains(got, seeder) {
		t.Errorf("one machine more is told of the seeder")
	}
	say(tr, machine(0), announce.Completed, 0)
	if got := say(tr, machine(served), "", 9).Peers; got[0] != seeder {
		t.Errorf("after one was complete, the next is told of %v; want the seeder first", got)
	}
}

func TestSilentPeersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := open()
		say(tr, m1, announce.Started, 9)
		time.Sleep(silence)
		if got := tr.Peers(image); got != 1 {
			t.Errorf("Peers after three intervals = %d; want 1", got)
		}
		time.Sleep(time.Second)
		if got := tr.Peers(image); got != 0 {
			t.Errorf("Peers after more than three intervals = %d; want 0", got)
		}
	})
}

func TestTheSeederComesFirstInShortAnswers(t *testing.T) {
	tr := open()
	for i := range served - 1 {
		say(tr, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 78, byte(i >> 8), byte(i)}), 6881), announce.Started, 9)
	}
	answer, _ := tr.Announce(announce.Request{InfoHash: image, Address: m1, Wanted: 3, Left: 1}, time.Now())
	if len(answer.Peers) != 3 || answer.Peers[0] != seeder {
		t.Errorf("Peers = %v; want 3 with the seeder first", answer.Peers)
	}
}

// A server with two networks has an address in each, and machines may reach only
// theirs.
func TestTheSeederIsToldAtTheMachinesOwnNetwork(t *testing.T) {
	tr := open()
	other := netip.MustParseAddr("10.78.0.1")
	answer, _ := tr.Announce(announce.Request{InfoHash: image, Address: m1, Wanted: 3, Left: 1, Server: other}, time.Now())
	if want := netip.AddrPortFrom(other, seeder.Port()); !slices.Equal(answer.Peers, []netip.AddrPort{want}) {
		t.Errorf("Peers = %v; want %v", answer.Peers, want)
	}
}

func TestOverHTTP(t *testing.T) {
	tr := open()
	server := httptest.NewServer(tr)
	defer server.Close()
	get := func(r announce.Request) (announce.Response, error) {
		resp, err := http.Get(server.URL + announce.Path + "?" + r.Query().Encode())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return announce.Decode(body)
	}
	request := announce.Request{InfoHash: image, Address: m1, Left: 1, Wanted: 50}
	here := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), seeder.Port()) // as this test reaches the server
	if got, err := get(request); err != nil || !slices.Equal(got.Peers, []netip.AddrPort{here}) || got.Interval != interval || got.MinInterval != minInterval {
		t.Errorf("announce = %+v, %v", got, err)
	}
	if got := tr.Peers(image); got != 1 {
		t.Errorf("Peers = %d; want 1", got)
	}
	request.InfoHash = [20]byte{'?'}
	if _, err := get(request); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("announce of an unknown image = %v; want a refusal", err)
	}
}
