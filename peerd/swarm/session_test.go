package swarm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"golang.org/x/time/rate"

	"swarmboot/images"
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
	t       *testing.T
	data    []byte
	pieces  images.Pieces
	torrent []byte
	tracker string
	net     byte // 127.net.0.0/16
	nodes   byte
	speed   int // bytes a second up and down of each node; 0: unlimited
	seeder  *node
}

type node struct {
	*swarm.Session
	store *memory
	stop  func()
}

var labs byte

func newLab(t *testing.T, size int64) *lab {
	t.Helper()
	labs++
	l := &lab{t: t, net: labs}
	l.data, _ = swarmtest.Image(size, pieceLength)
	var err error
	l.pieces, l.torrent, err = metainfo.Hash(bytes.NewReader(l.data), "lab", size, pieceLength, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.tracker = l.startTracker()
	return l
}

// startTracker runs a tracker that tells everybody of all.
func (l *lab) startTracker() string {
	var mu sync.Mutex
	peers := make(map[netip.AddrPort]bool)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		port, _ := strconv.ParseUint(r.FormValue("port"), 10, 16)
		self := netip.AddrPortFrom(netip.MustParseAddrPort(r.RemoteAddr).Addr(), uint16(port))
		var compact []byte
		for p := range peers {
			if p != self {
				compact = binary.BigEndian.AppendUint16(append(compact, p.Addr().AsSlice()...), p.Port())
			}
		}
		if peers[self] = true; r.FormValue("event") == "stopped" {
			delete(peers, self)
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

// TestStaggered is three machines that join one after the other on links of
// 100 Mbit/s, as measured in the notes of the commit.
func TestStaggered(t *testing.T) {
	for _, delay := range []time.Duration{0, 500 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			l := newLab(t, 20<<20)
			l.speed = 12 << 20
			l.seed()
			began := time.Now()
			var machines []*node
			for i := range 3 {
				time.Sleep(time.Until(began.Add(time.Duration(i) * delay)))
				machines = append(machines, l.machine(nil))
			}
			for _, m := range machines {
				l.complete(m)
				t.Logf("%v after %v: %+v", m.Addr(), time.Since(began), m.Stats())
			}
			t.Logf("copies %.2f", float64(l.seeder.Stats().Uploaded)/float64(l.pieces.Size))
		})
	}
}
