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
	tr := New(slog.New(slog.DiscardHandler))
	tr.Open(image, seeder)
	return tr
}

func say(tr *Tracker, from netip.AddrPort, event string, left int64) announce.Response {
	answer, _ := tr.announce(announce.Request{InfoHash: image, Address: from, Event: event, Left: left, Wanted: 50}, time.Now())
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
	for i := range 100 {
		say(tr, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 1, byte(i)}), 6881), announce.Started, 9)
	}
	answer, _ := tr.announce(announce.Request{InfoHash: image, Address: m1, Wanted: 3, Left: 1}, time.Now())
	if len(answer.Peers) != 3 || answer.Peers[0] != seeder {
		t.Errorf("Peers = %v; want 3 with the seeder first", answer.Peers)
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
	if got, err := get(request); err != nil || !slices.Equal(got.Peers, []netip.AddrPort{seeder}) || got.Interval != interval || got.MinInterval != minInterval {
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
