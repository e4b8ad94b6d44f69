package announce

import (
	"net/netip"
	"net/url"
	"reflect"
	"testing"
	"time"
)

var (
	machine = netip.MustParseAddr("10.77.0.9")
	sample  = Request{
		InfoHash: [20]byte{0, 1, '%', '&', 255}, PeerID: [20]byte{'-', 'S', 'B'}, Address: netip.AddrPortFrom(machine, 6881),
		Uploaded: 1, Downloaded: 2, Left: 3, Event: Started, Wanted: 30,
		Banned: []netip.Addr{netip.MustParseAddr("10.77.0.66"), netip.MustParseAddr("10.77.0.67")},
	}
)

func TestRequestRoundTrip(t *testing.T) {
	q, err := url.ParseQuery(sample.Query().Encode())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(q, machine)
	if err != nil || !reflect.DeepEqual(got, sample) {
		t.Errorf("Parse(Query) = %+v, %v; want %+v", got, err, sample)
	}
}

func TestThePeerCannotClaimAnotherAddress(t *testing.T) {
	q := sample.Query()
	q.Set("ip", "10.77.0.66")
	got, err := Parse(q, netip.MustParseAddr("::ffff:10.77.0.9"))
	if err != nil || got.Address.Addr() != machine {
		t.Errorf("address = %s, %v; want %s, where the packet came from", got.Address, err, machine)
	}
}

func TestParseRefuses(t *testing.T) {
	for key, value := range map[string]string{"info_hash": "short", "peer_id": "", "port": "0", "left": "-1", "uploaded": "many", "event": "paused", "banned": "10.77"} {
		q := sample.Query()
		q.Set(key, value)
		if got, err := Parse(q, machine); err == nil {
			t.Errorf("Parse with %s=%q = %+v; want an error", key, value, got)
		}
	}
}

func TestBannedIsBounded(t *testing.T) {
	many := sample
	many.Banned = make([]netip.Addr, MaxBanned+1)
	for i := range many.Banned {
		many.Banned[i] = machine
	}
	if got, err := Parse(many.Query(), machine); err == nil {
		t.Errorf("Parse with %d banned machines = %+v; want an error", len(many.Banned), got)
	}
}

func TestWantedIsBounded(t *testing.T) {
	for value, want := range map[string]int{"": DefaultWanted, "-1": DefaultWanted, "0": 0, "7": 7, "1000000": MaxWanted} {
		q := sample.Query()
		q.Set("numwant", value)
		if got, err := Parse(q, machine); err != nil || got.Wanted != want {
			t.Errorf("numwant=%q: Wanted = %d, %v; want %d", value, got.Wanted, err, want)
		}
	}
}

func TestResponseRoundTrip(t *testing.T) {
	want := Response{Interval: 30 * time.Second, MinInterval: 5 * time.Second, Complete: 1, Incomplete: 2, Peers: []netip.AddrPort{netip.MustParseAddrPort("10.77.0.1:6881"), netip.MustParseAddrPort("10.77.0.9:65535")}}
	body, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(body)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode(Encode) = %+v, %v; want %+v", got, err, want)
	}
	if _, err := Decode(Failure("unknown image")); err == nil || err.Error() != "tracker refuses: unknown image" {
		t.Errorf("Decode(Failure) = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample.Query().Encode())
	f.Add("info_hash=%00&port=1")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, err := Parse(q, machine)
		if err != nil {
			return
		}
		if again, err := Parse(r.Query(), machine); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("Parse(Query of %+v) = %+v, %v", r, again, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	body, err := Response{Interval: time.Minute, Peers: []netip.AddrPort{netip.MustParseAddrPort("10.77.0.1:6881")}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(Failure("no"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Decode(body)
		if err != nil {
			return
		}
		if _, err := r.Encode(); err != nil {
			t.Errorf("Encode(Decode(%q)): %v", body, err)
		}
	})
}
