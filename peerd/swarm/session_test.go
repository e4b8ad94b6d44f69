package swarm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"golang.org/x/time/rate"

	"swarmboot/images"
	"swarmboot/images/delta"
	"swarmboot/images/metainfo"
	"swarmboot/peerd/swarm"
	"swarmboot/peerd/swarm/swarmtest"
)

const pieceLength = 256 << 10

// memory is a Store that tells of each piece that it keeps.
type memory struct {
	pieces images.Pieces

	mu   sync.RWMutex
	data []byte       // guarded by mu
	has  map[int]bool // guarded by mu
	log  []int        // pieces in the order of their arrival; guarded by mu
	puts int          // guarded by mu
	full chan struct{}
}

func newMemory(pieces images.Pieces) *memory {
	return &memory{pieces: pieces, data: make([]byte, pieces.Size), has: make(map[int]bool), full: make(chan struct{})}
}

func (m *memory) Has(piece int) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.has[piece]
}

func (m *memory) Put(piece int, data []byte) error {
	if err := m.pieces.Verify(piece, data); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	if m.has[piece] {
		return nil
	}
	copy(m.data[m.pieces.Offset(piece):], data)
	m.has[piece] = true
	m.log = append(m.log, piece)
	if len(m.has) == m.pieces.Count() {
		close(m.full)
	}
	return nil
}

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off < 0 || off >= m.pieces.Size || len(b) == 0 {
		return 0, fmt.Errorf("read at %d of %d", off, m.pieces.Size)
	}
	b = b[:min(int64(len(b)), m.pieces.Size-off)]
	first, last := m.pieces.Spanned(off, len(b))
	for piece := first; piece <= last; piece++ {
		if !m.has[piece] {
			return 0, fmt.Errorf("piece %d is not there", piece)
		}
	}
	return copy(b, m.data[off:]), nil
}

func (m *memory) order() []int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return append([]int(nil), m.log...)
}

func TestMemoryStore(t *testing.T) {
	swarmtest.Run(t, func(t *testing.T, _ []byte, pieces images.Pieces) swarm.Store { return newMemory(pieces) })
}

// A lab is one image and the computers that exchange it, each with a loopback
// address of its own, as bans and the seeder's role go by address.
type lab struct {
	t         *testing.T
	data      []byte
	pieces    images.Pieces
	torrent   []byte
	tracker   string
	announced atomic.Int32 // how many nodes the tracker knows
	banned    atomic.Value // string: the machine that was last said to be banned
	net       byte         // 127.net.0.0/16
	nodes     byte
	speed     int // bytes a second up and down of each node; 0: unlimited
	seeder    *node
}

type node struct {
	*swarm.Session
	store *memory
	stop  func()
}

var labs atomic.Int32 // made so far

func newLab(t *testing.T, size int64) *lab {
	t.Helper()
	l := &lab{t: t, net: byte(labs.Add(1))}
	l.data, _ = swarmtest.Image(size, pieceLength)
	var err error
	l.pieces, l.torrent, err = metainfo.Hash(bytes.NewReader(l.data), "lab", size, pieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.tracker = l.startTracker()
	return l
}

// startTracker runs a tracker that tells everybody of all, the seeder among them.
func (l *lab) startTracker() string {
	var mu sync.Mutex
	peers := make(map[netip.AddrPort]bool)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		port, _ := strconv.ParseUint(r.FormValue("port"), 10, 16)
		self := netip.AddrPortFrom(netip.MustParseAddrPort(r.RemoteAddr).Addr(), uint16(port))
		var compact []byte
		if l.seeder != nil {
			at := l.seeder.Addr()
			compact = binary.BigEndian.AppendUint16(at.Addr().AsSlice(), at.Port())
		}
		for p := range peers {
			if p != self {
				compact = binary.BigEndian.AppendUint16(append(compact, p.Addr().AsSlice()...), p.Port())
			}
		}
		if peers[self] = true; r.FormValue("event") == "stopped" {
			delete(peers, self)
		}
		l.announced.Store(int32(len(peers)))
		if machine := r.FormValue("banned"); machine != "" {
			l.banned.Store(machine)
		}
		w.Write(bencode.MustMarshal(map[string]any{"interval": 1800, "peers": string(compact)}))
	}))
	l.t.Cleanup(srv.Close)
	return srv.URL + "/announce"
}

func (l *lab) address() netip.AddrPort {
	l.nodes++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, l.net, 0, l.nodes}), 0)
}

// start runs a node until the test ends or stop is called.
func (l *lab) start(store *memory, change func(*swarm.Config)) *node {
	l.t.Helper()
	cfg := swarm.Config{Pieces: l.pieces, Torrent: l.torrent, Store: store, Listen: l.address(), Log: slog.New(slog.DiscardHandler)}
	if l.seeder != nil {
		cfg.Seeder, cfg.Tracker = l.seeder.Addr(), l.tracker
	}
	if change != nil {
		change(&cfg)
	}
	s, err := swarm.NewLinked(cfg, link(l.speed))
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	n := &node{s, store, sync.OnceFunc(func() {
		cancel()
		began := time.Now()
		if err := <-ended; err != nil {
			l.t.Errorf("Run = %v", err)
		}
		if d := time.Since(began); d > time.Second {
			l.t.Errorf("Run took %v to end; want less than a second", d)
		}
	})}
	l.t.Cleanup(n.stop)
	return n
}

// seed starts the seeder.
func (l *lab) seed() *node {
	l.t.Helper()
	l.seeder = l.start(l.filled(func(int) bool { return true }), nil)
	return l.seeder
}

// filled is a store with some of the pieces.
func (l *lab) filled(with func(piece int) bool) *memory {
	m := newMemory(l.pieces)
	for i := range l.pieces.Count() {
		if with(i) {
			m.Put(i, swarmtest.Piece(l.data, l.pieces, i))
		}
	}
	m.log, m.puts = nil, 0
	return m
}

// machine starts a machine with nothing.
func (l *lab) machine(change func(*swarm.Config)) *node {
	l.t.Helper()
	n := l.start(newMemory(l.pieces), change)
	n.SetPace(swarm.Full)
	return n
}

// complete waits for a node to have all pieces, and checks them.
func (l *lab) complete(n *node) {
	l.t.Helper()
	select {
	case <-n.store.full:
	case <-time.After(60 * time.Second):
		l.t.Fatalf("%v has %d of %d pieces after a minute: %+v", n.Addr(), len(n.store.order()), l.pieces.Count(), n.Stats())
	}
	if !bytes.Equal(n.store.data, l.data) {
		l.t.Errorf("%v has wrong bytes", n.Addr())
	}
}

// link makes connections that share a node's speed.
func link(speed int) func(net.Conn) net.Conn {
	if speed == 0 {
		return nil
	}
	up, down := rate.NewLimiter(rate.Limit(speed), 64<<10), rate.NewLimiter(rate.Limit(speed), 64<<10)
	return func(c net.Conn) net.Conn {
		if tcp, ok := c.(*net.TCPConn); ok { // a link of this speed holds no megabytes
			tcp.SetReadBuffer(128 << 10)
			tcp.SetWriteBuffer(64 << 10)
		}
		return slow{c, up, down}
	}
}

type slow struct {
	net.Conn
	up, down *rate.Limiter
}

func (s slow) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		part := b[:min(len(b), 16<<10)]
		s.up.WaitN(context.Background(), len(part))
		var k int
		k, err = s.Conn.Write(part)
		n, b = n+k, b[k:]
	}
	return n, err
}

func (s slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b[:min(len(b), 16<<10)])
	s.down.WaitN(context.Background(), n)
	return n, err
}

func TestSwarmCompletes(t *testing.T) {
	t.Parallel()
	l := newLab(t, 20<<20+12345)
	l.seed()
	machines := []*node{l.machine(nil), l.machine(nil), l.machine(nil)}
	var sum swarm.Stats
	for _, m := range machines {
		l.complete(m)
	}
	for _, m := range machines {
		s := m.Stats()
		t.Logf("%v %+v", m.Addr(), s)
		sum.FromPeers += s.FromPeers
		sum.FromServer += s.FromServer
		sum.Duplicates += s.Duplicates
	}
	if want := 3 * l.pieces.Size; sum.FromPeers+sum.FromServer != want || sum.Duplicates != 0 {
		t.Errorf("three machines fetched %d useful and %d duplicate bytes; want %d and 0",
			sum.FromPeers+sum.FromServer, sum.Duplicates, want)
	}
	t.Logf("copies %.2f", float64(l.seeder.Stats().Uploaded)/float64(l.pieces.Size))
}

// TestCopies is three machines on links of 100 Mbit/s that join together or one
// after the other. One copy is the least that the seeder must send.
func TestCopies(t *testing.T) {
	for _, stagger := range []int{0, 10} { // pieces that the first has when the next joins
		t.Run(fmt.Sprint(stagger), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 10<<20)
			l.speed = 12 << 20
			l.seed()
			machines := []*node{l.machine(nil)}
			for range 2 {
				if stagger > 0 {
					waitFor(t, "progress", func() bool { return len(machines[0].store.order()) >= stagger*len(machines) })
				}
				machines = append(machines, l.machine(nil))
			}
			for _, m := range machines {
				l.complete(m)
			}
			copies := float64(l.seeder.Stats().Uploaded) / float64(l.pieces.Size)
			if t.Logf("%.2f copies", copies); copies > 1.6 {
				t.Errorf("the seeder sent %.2f copies to three machines; want at most 1.6", copies)
			}
		})
	}
}

func TestDemandComesFirst(t *testing.T) {
	t.Parallel()
	l := newLab(t, 10<<20)
	l.speed = 1 << 20 // four pieces a second: a busy computer is seldom late by one
	l.seed()
	m := l.machine(nil)
	wanted := []int{31, 17, 23}
	waitFor(t, "a piece of the rest", func() bool { return len(m.store.order()) > 0 })
	before := len(m.store.order())
	m.Demand(wanted)
	waitFor(t, "demand", func() bool { return m.store.Has(31) && m.store.Has(17) && m.store.Has(23) })
	order := m.store.order()
	last := 0
	for _, i := range wanted {
		last = max(last, slices.Index(order, i))
	}
	// What was under way when the reads began still arrives: four pieces. Without
	// an order the last of the three would be about the thirtieth.
	if got := last + 1 - before; got > len(wanted)+8 {
		t.Errorf("the demand of %d was met by the %dth piece; order %v after the first %d", len(wanted), got, order, before)
	}
}

func TestProfileThenRest(t *testing.T) {
	t.Parallel()
	l := newLab(t, 10<<20)
	l.seed()
	profile := []int{39, 3, 5, 7}
	m := l.machine(func(c *swarm.Config) { c.Profile = profile })
	m.SetPace(swarm.Needed)
	waitFor(t, "the profile", func() bool { return len(m.store.order()) >= len(profile) })
	for _, piece := range profile {
		if !m.store.Has(piece) {
			t.Errorf("piece %d of the profile is missing; there are %v", piece, m.store.order())
		}
	}
	if got := len(m.store.order()); got > len(profile) {
		t.Errorf("%d pieces of the rest came while the machine boots; want none", got-len(profile))
	}
	m.SetPace(swarm.Full)
	l.complete(m)
}

func TestRestartFetchesNothingTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5<<20)
	l.speed = 8 << 20
	l.seed()
	first := l.machine(nil)
	waitFor(t, "half of the image", func() bool { return len(first.store.order()) >= 10 })
	first.stop()
	had := len(first.store.order())
	second := l.start(first.store, nil)
	second.SetPace(swarm.Full)
	l.complete(second)
	if want := l.pieces.Count() - had; first.store.puts-had != want {
		t.Errorf("%d pieces came after the restart; %d were missing", first.store.puts-had, want)
	}
	if s := second.Stats(); s.Duplicates != 0 {
		t.Errorf("%d duplicate bytes", s.Duplicates)
	}
}

func TestSeederVanishes(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5<<20)
	l.speed = 12 << 20
	l.seed()
	machines := []*node{l.machine(nil), l.machine(nil), l.machine(nil)}
	waitFor(t, "one copy", func() bool {
		out := make(map[int]bool)
		for _, m := range machines {
			for _, piece := range m.store.order() {
				out[piece] = true
			}
		}
		return len(out) == l.pieces.Count()
	})
	l.seeder.stop()
	for _, m := range machines {
		l.complete(m)
	}
}

func TestSeederComesBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5<<20)
	l.speed = 4 << 20
	l.seed()
	m := l.machine(nil)
	waitFor(t, "a piece", func() bool { return len(m.store.order()) > 0 })
	at := l.seeder.Addr()
	l.seeder.stop()
	l.start(l.filled(func(int) bool { return true }), func(c *swarm.Config) {
		c.Listen, c.Seeder, c.Tracker = at, netip.AddrPort{}, ""
	})
	l.complete(m)
}

// A machine whose memory is damaged sends what is not the image. Its pieces are
// refused, it is banned, which the tracker is told, and the others complete from
// elsewhere. What it lacks it gets from them still.
func TestDamagedMachine(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5<<20)
	l.speed = 4 << 20 // the seeder alone doesn't bring it all before the other is there
	l.seed()
	damaged := l.filled(func(int) bool { return true })
	for i := range damaged.data {
		damaged.data[i] ^= 1
	}
	bad := l.start(damaged, nil)
	waitFor(t, "the damaged machine", func() bool { return l.announced.Load() == 1 })
	m := l.machine(nil)
	l.complete(m)
	good := l.machine(nil)
	l.complete(good)
	for _, n := range []*node{m, good} {
		// What it has sent by the time the first piece is refused, a fast link and
		// a busy computer make more; but it isn't asked again.
		s := n.Stats()
		if s.Rejected > l.pieces.Count() {
			t.Errorf("%d pieces were refused before their sender was dropped: %+v", s.Rejected, s)
		}
	}
	if s := m.Stats(); s.Rejected == 0 || s.FromServer < l.pieces.Size/2 {
		t.Errorf("first machine: %+v; want refused pieces, and the good ones from the seeder", s)
	}
	if s := good.Stats(); s.FromPeers == 0 {
		t.Errorf("second machine: %+v; the good machine was banned as well", s)
	}
	at := bad.Addr()
	waitFor(t, "word of the ban", func() bool { return l.banned.Load() == at.Addr().String() })
	bad.stop()
	l.seeder.stop()
	l.complete(l.machine(func(c *swarm.Config) { c.Listen, c.Peers = at, []netip.AddrPort{m.Addr()} }))
}

// A seeder that sends one damaged piece isn't banned: it is the last resort.
func TestDamagedSeeder(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5<<20)
	l.seed()
	store := l.seeder.store
	damage := func() {
		store.mu.Lock()
		defer store.mu.Unlock()
		store.data[l.pieces.Offset(7)] ^= 1
	}
	damage()
	m := l.machine(nil)
	waitFor(t, "refused pieces", func() bool { return m.Stats().Rejected >= 2 })
	if n := m.Stats().Rejected; n > 3 {
		t.Errorf("the damaged piece was fetched %d times in a row; want a pause between", n)
	}
	damage() // undoes it
	l.complete(m)
}

// Of a piece that is known in part only the rest is fetched. A draft that is wrong
// is nobody's fault, and the piece comes whole.
func TestDrafts(t *testing.T) {
	l := newLab(t, 4*pieceLength)
	seeder := l.seed()
	blocks := pieceLength / delta.BlockLength
	draft := func(piece, unknown int) swarm.Draft {
		d := swarm.Draft{Piece: piece, Data: swarmtest.Piece(l.data, l.pieces, piece), Known: slices.Repeat([]bool{true}, blocks)}
		d.Data = bytes.Clone(d.Data)
		clear(d.Data[unknown*delta.BlockLength:][:delta.BlockLength])
		d.Known[unknown] = false
		return d
	}
	wrong := draft(2, 0)
	wrong.Data[delta.BlockLength] ^= 1
	whole := draft(3, 0)
	whole.Known[0] = true // and it is not right
	n := l.machine(func(c *swarm.Config) {
		c.Drafts = []swarm.Draft{draft(0, blocks-1), draft(1, 0), wrong, whole}
	})
	l.complete(n)
	stats := n.Stats()
	if want := int64(2*delta.BlockLength + delta.BlockLength + 2*pieceLength); stats.FromServer != want || stats.Rejected != 1 {
		t.Errorf("%d bytes came, and %d pieces were wrong; want %d and the draft that was", stats.FromServer, stats.Rejected, want)
	}
	// The last block may be here before the seeder has counted it.
	waitFor(t, "count of what the seeder sent", func() bool { return seeder.Stats().Uploaded >= stats.FromServer })
	if got := seeder.Stats().Uploaded; got != stats.FromServer {
		t.Errorf("the seeder sent %d bytes", got)
	}
}

func TestHaveIsAnnounced(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5<<20)
	l.seed()
	giver := l.machine(nil)
	giver.SetPace(swarm.Needed)
	waitFor(t, "the giver", func() bool { return l.announced.Load() == 1 }) // complete, it dials nobody
	l.seeder.stop()                                                         // the pieces come by another way
	taker := l.machine(func(c *swarm.Config) { c.Rack = "another" })
	for i := range l.pieces.Count() {
		giver.store.Put(i, swarmtest.Piece(l.data, l.pieces, i))
		giver.Have(i)
	}
	l.complete(taker)
	if s := taker.Stats(); s.FromPeers < l.pieces.Size-pieceLength {
		t.Errorf("%+v; want nearly all from the machine", s)
	}
	s := taker.Stats()
	given := swarm.Connection{Peer: giver.Addr().Addr(), Far: true, Received: s.FromPeers}
	if got := taker.Connections(); s.FromFar != s.FromPeers || !slices.Contains(got, given) {
		t.Errorf("%+v by %+v; want all from another rack, by %+v", s, got, given)
	}
}

// broken is a store whose disk is full.
type broken struct{ *memory }

func (broken) Put(int, []byte) error { return errors.New("disk full") }

// A machine whom the tracker hands no seeder dials it when nothing else brings
// what it needs: here it is told of nobody.
func TestSeederIsDialledInNeed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1<<20)
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(bencode.MustMarshal(map[string]any{"interval": 1800, "peers": ""}))
	}))
	defer silent.Close()
	l.seed()
	m := l.machine(func(c *swarm.Config) { c.Tracker = silent.URL })
	m.Demand([]int{3})
	l.complete(m)
}

func TestBrokenStoreEndsTheSession(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1<<20)
	l.seed()
	s, err := swarm.New(swarm.Config{
		Pieces: l.pieces, Torrent: l.torrent, Store: broken{newMemory(l.pieces)},
		Listen: l.address(), Seeder: l.seeder.Addr(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.SetPace(swarm.Full)
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("Run = %v; want the store's error", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1<<20)
	good := swarm.Config{Pieces: l.pieces, Torrent: l.torrent, Store: newMemory(l.pieces), Listen: l.address()}
	for name, spoil := range map[string]func(*swarm.Config){
		"no torrent":      func(c *swarm.Config) { c.Torrent = nil },
		"another torrent": func(c *swarm.Config) { c.Pieces.Size++ },
		"no store":        func(c *swarm.Config) { c.Store = nil },
		"no address":      func(c *swarm.Config) { c.Listen = netip.AddrPort{} },
		"profile":         func(c *swarm.Config) { c.Profile = []int{4} },
		"address taken": func(c *swarm.Config) {
			c.Listen = netip.MustParseAddrPort(strings.TrimPrefix(strings.TrimSuffix(l.tracker, "/announce"), "http://"))
		},
	} {
		c := good
		spoil(&c)
		if s, err := swarm.New(c); err == nil {
			s.Run(context.Background())
			t.Errorf("%s: New = nil; want an error", name)
		}
	}
}

// waitFor looks every millisecond whether something has come about.
func waitFor(t *testing.T, what string, come func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !come(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s didn't come", what)
		}
	}
}

// The seeder stands in no rack, so no machine is in another one than it: each
// gets its share of turns.
func TestNobodyIsFarFromTheSeeder(t *testing.T) {
	t.Parallel()
	l := newLab(t, 5<<20)
	seeder := l.seed()
	l.complete(l.machine(func(c *swarm.Config) { c.Rack = "a" }))
	all := seeder.Connections()
	if len(all) != 1 || all[0].Far {
		t.Errorf("the seeder's connections are %+v; want one, to a machine that isn't far", all)
	}
}
