package peerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/peerd/internal/enginelink"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm"
)

const (
	firstPause = 100 * time.Millisecond // before the engine is started again,
	lastPause  = 5 * time.Second        // doubled up to this
	settled    = 10 * time.Second       // an engine that ran so long has earned a quick restart
)

// engine is the swarm engine as the root server sees it: a process that takes
// orders and brings pieces, and that is always started again.
type engine struct {
	argv  []string
	hello enginelink.Hello // without the piece map
	store *piecestore.Store
	log   *slog.Logger

	mu        sync.Mutex
	link      *enginelink.Root      // nil while no engine runs; guarded by mu, like all below
	pid       int                   // 0 while no engine runs
	drafts    []swarm.Draft         // for the first engine
	demand    []int                 // the newest orders, for an engine yet to start
	elsewhere map[int]chan struct{} // pieces reserved; closed when no engine fetches it
	pace      swarm.Pace
	restarts  int
	moved     time.Time   // when an engine last brought bytes
	past      swarm.Stats // of engines that have ended
	current   swarm.Stats
	connected []swarm.Connection
}

func newEngine(cfg RootConfig, seeder netip.AddrPort, store *piecestore.Store, log *slog.Logger) *engine {
	d := cfg.Description
	return &engine{
		elsewhere: map[int]chan struct{}{},
		argv:      cfg.Engine,
		store:     store,
		log:       log,
		hello: enginelink.Hello{
			Pieces:  store.Pieces(),
			Torrent: d.Torrent,
			Tracker: d.Tracker,
			Seeder:  seeder,
			Peers:   d.Peers,
			Rack:    d.Rack,
			Listen:  cfg.Listen,
			// A profile recorded with another version of the image may name
			// pieces that this one does not have.
			Profile: slices.DeleteFunc(slices.Clone(d.Profile), func(i int) bool { return i < 0 || i >= store.Pieces().Count() }),
		},
	}
}

// run keeps an engine running until ctx is done.
func (e *engine) run(ctx context.Context) {
	// The kernel sends the parent-death signal when the starting thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		begun := time.Now()
		err := e.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) >= settled {
			pause = firstPause
		}
		e.mu.Lock()
		e.restarts++
		e.mu.Unlock()
		e.log.Warn("swarm engine ended and is started again", "after", time.Since(begun).Round(time.Millisecond), "err", err)
		if !sleep(ctx, pause) {
			return
		}
	}
}

// runOnce starts an engine and returns when it has ended.
func (e *engine) runOnce(ctx context.Context) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("start the swarm engine: %w", err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = e.argv
	cmd.Stderr = os.Stderr // where a crash leaves its trace
	cmd.ExtraFiles = []*os.File{theirs, e.store.File()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		ours.Close()
		return fmt.Errorf("start the swarm engine: %w", err)
	}
	link := enginelink.NewRoot(ours)
	err = link.Run(ctx, e.begin(link, cmd.Process.Pid), e)
	e.end()
	cmd.Process.Kill() // it may hang; if it has ended, this does nothing
	return errors.Join(err, cmd.Wait())
}

// begin makes link the one that gets orders, and says what its engine has to know
// of those before it.
func (e *engine) begin(link *enginelink.Root, pid int) enginelink.Hello {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.link, e.pid = link, pid
	link.SetPace(e.pace)
	link.Demand(e.demand)
	hello := e.hello
	hello.Elsewhere = e.reserved()
	hello.Drafts, e.drafts = e.drafts, nil // 20 MB are not kept for the case of a crash
	hello.Have = e.store.Have()            // last: what comes from now on is ordered
	return hello
}

// Draft tells the engine, before it is started, what is known of a piece.
func (e *engine) Draft(d swarm.Draft) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drafts = append(e.drafts, d)
}

// end keeps the counts of the engine that has ended.
func (e *engine) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.link, e.pid = nil, 0
	for piece := range e.elsewhere {
		e.free(piece)
	}
	e.past = sum(e.past, e.current)
	e.past.Peers = 0
	e.current, e.connected = swarm.Stats{}, nil
}

// Put takes a piece from the engine.
func (e *engine) Put(piece int, data []byte) error { return e.store.Put(piece, data) }

// Stats takes the engine's counts.
func (e *engine) Stats(s swarm.Stats, connected []swarm.Connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.FromPeers+s.FromServer > e.current.FromPeers+e.current.FromServer {
		e.moved = time.Now()
	}
	e.current, e.connected = s, connected
}

// Demand tells which pieces reads wait for.
func (e *engine) Demand(pieces []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.demand = pieces
	if e.link != nil {
		e.link.Demand(pieces)
	}
}

// Reserve has a piece left to the caller until Release. It returns when the engine
// has agreed; if none runs that is at once, and one that starts will know. An
// engine that is fetching the piece does not agree: after patience the caller may
// go its own way all the same, as when ctx ends.
func (e *engine) Reserve(ctx context.Context, piece int) {
	e.mu.Lock()
	free := make(chan struct{})
	e.elsewhere[piece] = free
	if e.link == nil {
		close(free)
	} else {
		e.link.Elsewhere(e.reserved())
	}
	e.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-free:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Release gives a piece back to the engine.
func (e *engine) Release(piece int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.elsewhere, piece)
	if e.link != nil {
		e.link.Elsewhere(e.reserved())
	}
}

// Left takes the engine's word that it does not fetch these pieces.
func (e *engine) Left(pieces []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, piece := range pieces {
		e.free(piece)
	}
}

// free wakes who has reserved a piece. e.mu is held, as in reserved.
func (e *engine) free(piece int) {
	select {
	case <-e.elsewhere[piece]: // a nil channel never is ready
	default:
		if free := e.elsewhere[piece]; free != nil {
			close(free)
		}
	}
}

func (e *engine) reserved() []int { return slices.Sorted(maps.Keys(e.elsewhere)) }

// Have tells of a piece that has come by another way.
func (e *engine) Have(piece int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link != nil {
		e.link.Have(piece)
	}
}

// SetPace says how hard to fetch what nothing waits for.
func (e *engine) SetPace(pace swarm.Pace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pace = pace
	if e.link != nil {
		e.link.SetPace(pace)
	}
}

// HasSwarm tells whether an engine runs and, as far as is known, has a peer.
func (e *engine) HasSwarm() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current.Peers > 0
}

// Moved tells when an engine last brought bytes, be it a part of a piece.
func (e *engine) Moved() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.moved
}

// stats are those of all engines so far, and the process that runs now.
func (e *engine) stats() (stats swarm.Stats, restarts, pid int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return sum(e.past, e.current), e.restarts, e.pid
}

// connections are those of the engine that runs.
func (e *engine) connections() []swarm.Connection {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.connected
}

func sum(a, b swarm.Stats) swarm.Stats {
	return swarm.Stats{
		Peers:      a.Peers + b.Peers,
		FromPeers:  a.FromPeers + b.FromPeers,
		FromFar:    a.FromFar + b.FromFar,
		FromServer: a.FromServer + b.FromServer,
		Uploaded:   a.Uploaded + b.Uploaded,
		Duplicates: a.Duplicates + b.Duplicates,
		Rejected:   a.Rejected + b.Rejected,
	}
}

// socketPair makes the two ends of a link, one of them for a child process.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "engine link")
	defer file.Close() // FileConn has a copy
	theirs = os.NewFile(uintptr(fds[1]), "engine link")
	ours, err = net.FileConn(file)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
