package storm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/bootserver/internal/seeder"
	"swarmboot/bootserver/internal/tracker"
	"swarmboot/images"
	"swarmboot/images/metainfo"
	"swarmboot/peerd/announce"
	"swarmboot/peerd/swarm"
)

// Where our server is: end 0 of the switch.
const (
	serverAddress = "10.99.0.1"
	webPort       = 80
	swarmPort     = 6881 // of machines, too

	webURL     = "http://" + serverAddress
	trackerURL = webURL + announce.Path
	rootURL    = webURL + rootPath

	rootPath = "/root" // the image, for ranges over HTTP
)

var seederAddress = netip.AddrPortFrom(netip.MustParseAddr(serverAddress), swarmPort)

// roles are what this program does in a namespace, instead of testing: the
// first argument names it.
var roles = map[string]func(args []string) error{
	"storm-server": runServer,
	"storm-peer":   runPeer,
	"storm-reader": runReader,
	"storm-root":   runRoot,
	"storm-engine": runEngine,
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		if err := roles[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// awaitGo returns when the bench says that the machines are switched on; the
// context is done when it has seen enough.
func awaitGo() context.Context {
	in := bufio.NewReader(os.Stdin)
	in.ReadString('\n')
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, in)
		cancel()
	}()
	return ctx
}

// say tells the bench that something has come about: a word, and what belongs
// to it.
func say(word string, what any) {
	text, _ := json.Marshal(what)
	fmt.Printf("%s %s\n", word, text)
}

// runServer is our boot server's part in a swarm: tracker and seeder.
func runServer(args []string) error {
	flags := flag.NewFlagSet("storm-server", flag.ContinueOnError)
	loadDir := flags.String("load", "", "folder of the load")
	trackerOnly := flags.Bool("tracker-only", false, "leave the image to another program")
	noTracker := flags.Bool("no-tracker", false, "don't answer who asks for peers")
	blind := flags.Bool("blind", false, "don't know the racks")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := readLoad(*loadDir)
	if err != nil {
		return err
	}
	infohash, err := metainfo.Parse(l.Torrent, l.Pieces)
	if err != nil {
		return err
	}
	rackOf := rackName
	if *blind {
		rackOf = func(netip.Addr) string { return "" }
	}
	track := tracker.New(rackOf, 1, discard)
	track.Open(infohash, seederAddress)
	mux := http.NewServeMux()
	mux.HandleFunc(rootPath, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, l.path("image")) })
	if !*noTracker {
		mux.Handle(announce.Path, track)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", webPort))
	if err != nil {
		return err
	}
	go http.Serve(listener, mux)
	if *trackerOnly {
		say("up", nil)
		<-awaitGo().Done()
		return nil
	}
	image, err := l.published()
	if err != nil {
		return err
	}
	seed, err := seeder.New(netip.AddrPortFrom(netip.IPv4Unspecified(), swarmPort), discard)
	if err != nil {
		return err
	}
	if err := seed.Add(image); err != nil {
		return err
	}
	say("up", nil)
	ctx := awaitGo()
	go suspect(ctx, track, seed)
	err = seed.Run(ctx)
	say("stats", seed.Stats()[image.Digest])
	return err
}

// suspect tells the seeder whom the tracker suspects, as often as the boot server
// does.
func suspect(ctx context.Context, track *tracker.Tracker, seed *seeder.Seeder) {
	for now := range time.Tick(time.Second) {
		if ctx.Err() != nil {
			return
		}
		var machines []netip.Addr
		for _, one := range track.Suspects(now) {
			machines = append(machines, one.Machine)
		}
		seed.Suspect(machines)
	}
}

// runPeer is a machine of ours: the swarm engine, and a system that boots.
func runPeer(args []string) error {
	flags := flag.NewFlagSet("storm-peer", flag.ContinueOnError)
	loadDir := flags.String("load", "", "folder of the load")
	dir := flags.String("dir", "", "folder for the image")
	address := flags.String("address", "", "address of this machine")
	compute := flags.Duration("boot", 0, "boot, which computes for so long, and fetch the rest when it is over; below 0: fetch the whole image at once")
	blind := flags.Bool("blind", false, "don't know in which rack it stands")
	corrupt := flags.Bool("corrupt", false, "send wrong bytes")
	peers := flags.Int("peers", 0, "of so many machines, know eight from the beginning on")
	fuse := flags.Bool("fuse", false, "read over FUSE and a loop device, as a real machine does")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := readLoad(*loadDir)
	if err != nil {
		return err
	}
	own, err := netip.ParseAddr(*address)
	if err != nil {
		return err
	}
	if *fuse {
		return bootOverFUSE(awaitGo(), l, *dir, *address, *compute)
	}
	store, err := newStore(filepath.Join(*dir, "image"), l.Pieces)
	if err != nil {
		return err
	}
	cfg := swarm.Config{
		Pieces: l.Pieces, Torrent: l.Torrent, Store: store, Log: discard,
		Listen:  netip.AddrPortFrom(netip.IPv4Unspecified(), swarmPort),
		Tracker: trackerURL, Seeder: seederAddress,
	}
	if !*blind {
		cfg.Rack = rackName(own)
	}
	if *corrupt {
		cfg.Store = liar{store}
	}
	if *peers > 0 {
		cfg.Peers = neighbours(own, *peers)
	}
	boots := *compute >= 0
	if boots {
		cfg.Profile = l.Profile
	}
	ctx := awaitGo()
	session, err := swarm.New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Run(ctx) }()
	if boots {
		var s stalls
		var all []float64
		read := func(piece int) error {
			began := time.Now()
			err := store.wait(ctx, piece, session.Demand)
			all = append(all, time.Since(began).Seconds())
			s.add(slices.Contains(l.Profile, piece), all[len(all)-1])
			return err
		}
		if err := l.replay(read, *compute); err != nil {
			return err
		}
		say("ready", nil)
		say("stalls", s)
		say("reads", all)
	}
	session.SetPace(swarm.Full)
	for piece := range l.Pieces.Count() {
		if err := store.wait(ctx, piece, nil); err != nil {
			break // the bench has seen enough
		}
	}
	if ctx.Err() == nil {
		say("complete", nil)
	}
	<-ctx.Done()
	stats := session.Stats()
	err = <-ended
	say("stats", stats)
	return err
}

// neighbours are the eight machines next to one of n. The last number of an
// address is one more than the machine's.
func neighbours(own netip.Addr, n int) (peers []netip.AddrPort) {
	four := own.As4()
	first := int(four[3]) - 2
	for i := 1; i <= min(8, n-1); i++ {
		four[3] = byte((first+i)%n + 2)
		peers = append(peers, netip.AddrPortFrom(netip.AddrFrom4(four), swarmPort))
	}
	return peers
}

// A liar gives others wrong bytes.
type liar struct{ *store }

func (l liar) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.store.ReadAt(p, off)
	if n > 0 {
		p[n-1]++
	}
	return n, err
}

// stalls are how long reads have waited for pieces, in seconds.
type stalls struct {
	Hot, Other       float64 // for pieces of the profile, and for others
	Longest          float64
	HotReads, Others int // that waited
}

func (s *stalls) add(hot bool, seconds float64) {
	if seconds < 0.001 {
		return
	}
	s.Longest = max(s.Longest, seconds)
	if hot {
		s.Hot += seconds
		s.HotReads++
	} else {
		s.Other += seconds
		s.Others++
	}
}

// store is a machine's swarm.Store: a file in memory, and who waits for it.
type store struct {
	*os.File
	pieces images.Pieces

	mu      sync.Mutex
	has     []bool        // guarded by mu
	changed chan struct{} // closed when a piece comes; guarded by mu
}

func newStore(path string, pieces images.Pieces) (*store, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &store{File: f, pieces: pieces, has: make([]bool, pieces.Count()), changed: make(chan struct{})}, nil
}

func (s *store) Has(piece int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has[piece]
}

func (s *store) Put(piece int, data []byte) error {
	if err := s.pieces.Verify(piece, data); err != nil {
		return err
	}
	if _, err := s.WriteAt(data, s.pieces.Offset(piece)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has[piece] = true
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// wait returns when a piece is there. Until then it is demanded, if at all.
func (s *store) wait(ctx context.Context, piece int, demand func([]int)) error {
	for asked := false; ; {
		s.mu.Lock()
		has, changed := s.has[piece], s.changed
		s.mu.Unlock()
		if has {
			if asked {
				demand(nil)
			}
			return nil
		}
		if demand != nil && !asked {
			demand([]int{piece})
			asked = true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.New("the bench ended it")
		}
	}
}

// readAhead is how many pieces of the profile runReader reads ahead at once.
const readAhead = 4

// runReader is a system that boots from a file which another program brings
// piece by piece, and prefetches by the profile as ours does.
func runReader(args []string) error {
	flags := flag.NewFlagSet("storm-reader", flag.ContinueOnError)
	loadDir := flags.String("load", "", "folder of the load")
	path := flags.String("file", "", "file to read")
	mount := flags.String("mount", "", "command line that mounts it, and ends when it is unmounted")
	compute := flags.Duration("boot", 0, "how long a boot computes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := readLoad(*loadDir)
	if err != nil {
		return err
	}
	ctx := awaitGo()
	words := strings.Fields(*mount)
	mounter := exec.CommandContext(ctx, words[0], words[1:]...)
	mounter.Stderr = os.Stderr
	if err := mounter.Start(); err != nil {
		return err
	}
	defer mounter.Wait()
	var f *os.File
	for mounted := false; !mounted; time.Sleep(5 * time.Millisecond) { // nothing tells that it is
		if ctx.Err() != nil {
			return errors.New("the bench ended it")
		}
		if f, err = os.Open(*path); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		info, err := f.Stat()
		if mounted = err == nil && info.Size() == l.Pieces.Size; !mounted {
			f.Close()
		}
	}
	// The profile knows better than the kernel what comes next.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return err
	}
	// What was read stays, as in the machine's page cache.
	var pieces = make([]struct {
		sync.Once
		err error
	}, l.Pieces.Count())
	read := func(piece int) error {
		p := &pieces[piece]
		p.Do(func() {
			data := make([]byte, l.Pieces.Len(piece))
			if _, p.err = f.ReadAt(data, l.Pieces.Offset(piece)); p.err == nil {
				p.err = l.Pieces.Verify(piece, data)
			}
		})
		return p.err
	}
	next := make(chan int, len(l.Profile))
	for _, piece := range l.Profile {
		next <- piece
	}
	close(next)
	for range readAhead {
		go func() {
			for piece := range next {
				read(piece)
			}
		}()
	}
	if err := l.replay(read, *compute); err != nil {
		return err
	}
	say("ready", nil)
	<-ctx.Done()
	f.Close()
	return nil
}
