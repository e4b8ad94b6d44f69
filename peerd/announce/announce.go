// Package announce is what peers and the tracker say to each other (BEP 3, in
// the compact form of BEP 23).
//
// peerd/swarm announces a peer with Request.Query and reads the Response; the
// boot server's tracker uses Parse and Response.Encode.
package announce

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/anacrolix/torrent/bencode"
)

// Path is where the boot server's tracker takes announces.
const Path = "/announce"

// Events that a peer announces. Most announces carry none.
const (
	Started   = "started"
	Stopped   = "stopped"
	Completed = "completed"
)

// Limits of how many peers an answer lists.
const (
	DefaultWanted = 50
	MaxWanted     = 200
)

// MaxBanned is how many banned machines an announce names at most. Whoever bans
// more has a fault of its own.
const MaxBanned = 8

// A Request tells the tracker about one peer of one swarm.
type Request struct {
	InfoHash   [20]byte
	PeerID     [20]byte
	Address    netip.AddrPort // where the peer takes connections; only the port travels
	Uploaded   int64
	Downloaded int64
	Left       int64 // bytes that the peer still needs; 0: it is a seeder
	Event      string
	Wanted     int // peers wanted; negative: as many as the tracker likes

	// Machines that the peer has banned, as what they sent was not what was signed;
	// at most MaxBanned. BEP 3 doesn't know of it, and other trackers don't mind.
	Banned []netip.Addr

	Server netip.Addr // of the tracker, as the peer reaches it; known to the tracker alone
}

// Query is r as the tracker's URL carries it.
func (r Request) Query() url.Values {
	q := url.Values{
		"info_hash":  {string(r.InfoHash[:])},
		"peer_id":    {string(r.PeerID[:])},
		"port":       {strconv.Itoa(int(r.Address.Port()))},
		"uploaded":   {strconv.FormatInt(r.Uploaded, 10)},
		"downloaded": {strconv.FormatInt(r.Downloaded, 10)},
		"left":       {strconv.FormatInt(r.Left, 10)},
		"compact":    {"1"},
	}
	if r.Event != "" {
		q.Set("event", r.Event)
	}
	if r.Wanted >= 0 {
		q.Set("numwant", strconv.Itoa(r.Wanted))
	}
	for _, machine := range r.Banned {
		q.Add("banned", machine.String())
	}
	return q
}

// Parse reads an announce that came from remote. The peer's address is always
// where it came from: a parameter that claims another would let one machine
// speak for any other.
func Parse(q url.Values, remote netip.Addr) (Request, error) {
	r := Request{Event: q.Get("event"), Wanted: DefaultWanted}
	if copy(r.InfoHash[:], q.Get("info_hash")) != len(r.InfoHash) || len(q.Get("info_hash")) != len(r.InfoHash) {
		return Request{}, fmt.Errorf("info_hash of %d bytes, want 20", len(q.Get("info_hash")))
	}
	if copy(r.PeerID[:], q.Get("peer_id")) != len(r.PeerID) || len(q.Get("peer_id")) != len(r.PeerID) {
		return Request{}, fmt.Errorf("peer_id of %d bytes, want 20", len(q.Get("peer_id")))
	}
	port, err := strconv.ParseUint(q.Get("port"), 10, 16)
	if err != nil || port == 0 {
		return Request{}, fmt.Errorf("port %q is none", q.Get("port"))
	}
	r.Address = netip.AddrPortFrom(remote.Unmap(), uint16(port))
	for key, field := range map[string]*int64{"uploaded": &r.Uploaded, "downloaded": &r.Downloaded, "left": &r.Left} {
		if !q.Has(key) {
			continue
		}
		if *field, err = strconv.ParseInt(q.Get(key), 10, 64); err != nil || *field < 0 {
			return Request{}, fmt.Errorf("%s %q is no count", key, q.Get(key))
		}
	}
	switch r.Event {
	case "", Started, Stopped, Completed:
	default:
		return Request{}, fmt.Errorf("unknown event %q", r.Event)
	}
	if wanted, err := strconv.Atoi(q.Get("numwant")); err == nil && wanted >= 0 {
		r.Wanted = min(wanted, MaxWanted)
	}
	if n := len(q["banned"]); n > MaxBanned {
		return Request{}, fmt.Errorf("%d banned machines, at most %d may be named", n, MaxBanned)
	}
	for _, text := range q["banned"] {
		machine, err := netip.ParseAddr(text)
		if err != nil {
			return Request{}, fmt.Errorf("banned machine %q is no address", text)
		}
		r.Banned = append(r.Banned, machine.Unmap().WithZone(""))
	}
	return r, nil
}

// A Response is what the tracker answers.
type Response struct {
	Interval    time.Duration // until the next announce
	MinInterval time.Duration // not sooner than this
	Complete    int           // peers that have everything
	Incomplete  int           // peers that do not
	Peers       []netip.AddrPort
}

// wire is a response in bencode.
type wire struct {
	Failure     string `bencode:"failure reason,omitempty"`
	Interval    int64  `bencode:"interval"`
	MinInterval int64  `bencode:"min interval,omitempty"`
	Complete    int    `bencode:"complete"`
	Incomplete  int    `bencode:"incomplete"`
	Peers       []byte `bencode:"peers"`
}

// Encode gives the answer's body. Only IPv4 peers can be listed.
func (r Response) Encode() ([]byte, error) {
	w := wire{Interval: int64(r.Interval / time.Second), MinInterval: int64(r.MinInterval / time.Second), Complete: r.Complete, Incomplete: r.Incomplete, Peers: make([]byte, 0, 6*len(r.Peers))}
	for _, peer := range r.Peers {
		if !peer.Addr().Is4() {
			return nil, fmt.Errorf("peer %s has no IPv4 address", peer)
		}
		ip := peer.Addr().As4()
		w.Peers = append(w.Peers, ip[:]...)
		w.Peers = append(w.Peers, byte(peer.Port()>>8), byte(peer.Port()))
	}
	return bencode.Marshal(w)
}

// Failure is the body that refuses an announce, in bencode (BEP 3).
func Failure(reason string) []byte {
	return fmt.Appendf(nil, "d14:failure reason%d:%se", len(reason), reason)
}

// Decode reads a tracker's answer.
func Decode(body []byte) (Response, error) {
	var w wire
	if err := bencode.Unmarshal(body, &w); err != nil {
		return Response{}, fmt.Errorf("tracker's answer: %w", err)
	}
	if w.Failure != "" {
		return Response{}, fmt.Errorf("tracker refuses: %s", w.Failure)
	}
	const day = 24 * 60 * 60
	if w.Interval <= 0 || w.Interval > day || w.MinInterval < 0 || w.MinInterval > day {
		return Response{}, fmt.Errorf("tracker's answer: intervals of %d and %d seconds", w.Interval, w.MinInterval)
	}
	if len(w.Peers)%6 != 0 {
		return Response{}, errors.New("tracker's answer: list of peers is cut off")
	}
	r := Response{Interval: time.Duration(w.Interval) * time.Second, MinInterval: time.Duration(w.MinInterval) * time.Second, Complete: w.Complete, Incomplete: w.Incomplete}
	for p := w.Peers; len(p) > 0; p = p[6:] {
		r.Peers = append(r.Peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte(p)), uint16(p[4])<<8|uint16(p[5])))
	}
	return r, nil
}
