package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/images"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd"
	"swarmboot/peerd/internal/piecestore"
	"swarmboot/peerd/swarm"
)

const insideVar = "PEERD_TEST_INSIDE"

// TestMain makes this test binary three things: peerd, when the tests or peerd
// itself start it as such; a process that has the system's PID 1 role in
// namespaces of its own, where the tests run; and the one that starts that.
func TestMain(m *testing.M) {
	if os.Args[0] == "@peerd" {
		main()
		os.Exit(0)
	}
	if os.Getenv("SWARMBOOT_E2E") != "1" || missing() != "" {
		os.Exit(m.Run()) // the tests of a machine tell why they do not run
	}
	if os.Getenv(insideVar) != "" {
		if err := becomeMachine(); err != nil {
			fmt.Fprintln(os.Stderr, "make a machine:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    unix.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// missing names what a machine needs and this computer does not give.
func missing() string {
	if os.Getuid() != 0 {
		return "root"
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(device); err != nil {
			return device
		}
	}
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		return "mksquashfs"
	}
	return ""
}

// becomeMachine gives this process the surroundings of a machine's init.
func becomeMachine() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("run", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	return unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, lo)
}

// A machine is one that boots: an image, a boot server, and peerd.
type machine struct {
	t      *testing.T
	image  []byte
	pieces images.Pieces
	server *bootServer
	peerd  *exec.Cmd
	device string
}

// newMachine makes an image and a boot server that has it, and starts peerd. The
// pieces held back come over HTTP alone, when they are released.
func newMachine(t *testing.T, mebibytes int, heldBack ...int) *machine {
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("mounts FUSE and sets up a loop device; run by make e2e (SWARMBOOT_E2E=1)")
	}
	if what := missing(); what != "" {
		t.Fatalf("cannot run a machine: needs %s", what)
	}
	m := &machine{t: t, image: makeImage(t, mebibytes)}
	key, err := envelope.NewKey()
	check(t, err)
	pem, err := key.Public().MarshalPEM()
	check(t, err)
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "key.pem"), pem, 0o600))

	var torrent []byte
	m.pieces, torrent, err = metainfo.Hash(bytes.NewReader(m.image), "root", int64(len(m.image)), images.DefaultPieceLength, nil)
	check(t, err)
	root, err := images.DigestPart(bytes.NewReader(m.image))
	check(t, err)
	torrentPart, err := images.DigestPart(bytes.NewReader(torrent))
	check(t, err)
	manifest, _, err := images.Manifest{
		Format: images.Format, Name: "test", Version: "1", Arch: "amd64", Filesystem: "squashfs",
		Kernel: root, Modules: root, Root: root, Torrent: torrentPart, Pieces: m.pieces,
	}.Seal(key)
	check(t, err)

	m.server = newBootServer(t, m, torrent, heldBack)
	description, err := json.Marshal(bootargs.Description{
		Machine: "52:54:00:77:00:01", Image: "test@1", Manifest: manifest, Torrent: torrent,
		Tracker: m.server.URL + "/announce", Seeder: noSeeder.String(), RootURL: m.server.URL + "/root",
	})
	check(t, err)
	file := filepath.Join(dir, "description.json")
	check(t, os.WriteFile(file, description, 0o600))
	m.start(dir, file)
	return m
}

// freeLoop names a loop device that nobody uses.
func freeLoop(t *testing.T) string {
	control, err := os.Open("/dev/loop-control")
	check(t, err)
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	check(t, err)
	return "/dev/loop" + strconv.Itoa(n)
}

// start runs peerd as init does, and returns when it says "ready".
func (m *machine) start(dir, description string) {
	t := m.t
	m.device = freeLoop(t)

	ready, theirs, err := os.Pipe()
	check(t, err)
	m.peerd = exec.Command("/proc/self/exe")
	m.peerd.Args = []string{"@peerd", "peerd", "root", "--description", description, "--keys", dir, "--dir", t.TempDir(),
		"--loop", m.device, "--ready-fd", "3", "--server", m.server.URL, "--listen", "127.0.0.1:6881", "--log", "stderr"}
	m.peerd.ExtraFiles = []*os.File{theirs}
	m.peerd.Stderr = os.Stderr
	// A test that is given up must not stay for ever in a read that peerd does
	// not answer: the thread that started peerd takes it along.
	m.peerd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		started <- m.peerd.Start()
		<-ended
	}()
	check(t, <-started)
	theirs.Close()
	t.Cleanup(func() {
		close(ended)
		m.peerd.Process.Kill()
		m.peerd.Wait()
		dev, err := os.Open(m.device)
		check(t, err)
		defer dev.Close()
		check(t, unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0))
	})
	line, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("peerd root says %q, %v; want ready", line, err)
	}
	ready.Close()
}

// status asks peerd.
func (m *machine) status() peerd.Status {
	status, err := peerd.AskStatus(m.t.Context(), peerd.StatusSocket)
	check(m.t, err)
	return status
}

// killEngine ends the swarm engine with SIGKILL, when there is one, and waits
// for the next.
func (m *machine) killEngine() {
	old := m.waitEngine(0)
	check(m.t, syscall.Kill(old, syscall.SIGKILL))
	m.waitEngine(old)
}

// waitEngine returns the process of a swarm engine that is not old.
func (m *machine) waitEngine(old int) int {
	for m.t.Context().Err() == nil {
		if pid := m.status().Engine; pid != 0 && pid != old {
			return pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}

// read compares n bytes of the loop device with the image, past every cache.
func (m *machine) read(dev *os.File, buf []byte, off int64) error {
	n := min(int64(len(buf)), int64(len(m.image))-off)
	if _, err := dev.ReadAt(buf[:n], off); err != nil {
		return fmt.Errorf("read %d bytes at %d: %w", n, off, err)
	}
	if !bytes.Equal(buf[:n], m.image[off:off+n]) {
		return fmt.Errorf("%d bytes at %d are not those of the image", n, off)
	}
	return nil
}

// open opens the loop device for direct reads.
func (m *machine) open() *os.File {
	dev, err := os.OpenFile(m.device, os.O_RDONLY|unix.O_DIRECT, 0)
	check(m.t, err)
	m.t.Cleanup(func() { dev.Close() })
	return dev
}

// alignedBuffer is fit for direct I/O.
func alignedBuffer(n int) []byte {
	buf, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	return buf
}

// makeImage is a real squashfs of about the given size.
func makeImage(t *testing.T, mebibytes int) []byte {
	dir := t.TempDir()
	for i := range mebibytes {
		random := rand.NewChaCha8([32]byte{byte(i)})
		data := make([]byte, 1<<20)
		random.Read(data)
		check(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%03d", i)), data, 0o600))
	}
	path := filepath.Join(t.TempDir(), "root.squashfs")
	out, err := exec.Command("mksquashfs", dir, path, "-comp", "zstd", "-Xcompression-level", "1", "-no-progress", "-quiet").CombinedOutput()
	if err != nil {
		t.Fatalf("mksquashfs: %v: %s", err, out)
	}
	image, err := os.ReadFile(path)
	check(t, err)
	return image
}

// bootServer is what a machine finds on the network: the image over HTTP, a
// tracker that knows one other machine, and an ear for reports.
type bootServer struct {
	*httptest.Server
	image *bytes.Reader

	mu      sync.Mutex
	arrived *sync.Cond
	closed  map[int64]chan struct{} // offsets that HTTP gives only when the channel is closed; guarded by mu, like all below
	reports []stage.Report
	fetched int // HTTP requests for pieces
}

// The other machine has all pieces but those held back. There is no seeder.
var (
	otherMachine = netip.MustParseAddrPort("127.0.0.2:6881")
	noSeeder     = netip.MustParseAddrPort("127.0.0.3:6881")
)

func newBootServer(t *testing.T, m *machine, torrent []byte, heldBack []int) *bootServer {
	s := &bootServer{image: bytes.NewReader(m.image), closed: map[int64]chan struct{}{}}
	s.arrived = sync.NewCond(&s.mu)
	store, err := piecestore.Create(filepath.Join(t.TempDir(), "other"), m.pieces)
	check(t, err)
	t.Cleanup(func() { store.Close() })
	for i := range m.pieces.Count() {
		off := m.pieces.Offset(i)
		if slices.Contains(heldBack, i) {
			s.closed[off] = make(chan struct{})
		} else {
			check(t, store.Put(i, m.image[off:off+int64(m.pieces.Len(i))]))
		}
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)

	session, err := swarm.New(swarm.Config{
		Pieces: m.pieces, Torrent: torrent, Store: store, Log: slog.New(slog.DiscardHandler),
		Listen: otherMachine, Seeder: noSeeder, Tracker: s.URL + "/announce",
	})
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		session.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func (s *bootServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case stage.Path:
		data, _ := io.ReadAll(r.Body)
		report, err := stage.Decode(data)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.reports = append(s.reports, report)
		s.arrived.Broadcast()
		s.mu.Unlock()
	case "/root":
		var first, last int64
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
		s.mu.Lock()
		s.fetched++
		closed := s.closed[first]
		s.mu.Unlock()
		if closed != nil {
			select {
			case <-closed:
			case <-r.Context().Done():
				return
			}
		}
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(s.image, 0, s.image.Size()))
	case "/announce":
		peer := binary.BigEndian.AppendUint16(otherMachine.Addr().AsSlice(), otherMachine.Port())
		fmt.Fprintf(w, "d8:intervali60e5:peers6:%se", peer)
	default:
		http.NotFound(w, r)
	}
}

// release lets HTTP give a piece that was held back.
func (s *bootServer) release(off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.closed[off])
}

// wait returns the first report of a stage.
func (s *bootServer) wait(want stage.Stage) stage.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for _, r := range s.reports {
			if r.Stage == want {
				return r
			}
		}
		s.arrived.Wait()
	}
}

// stages are those reported, each once, in order of arrival.
func (s *bootServer) stages() []stage.Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stages []stage.Stage
	for _, r := range s.reports {
		if !slices.Contains(stages, r.Stage) {
			stages = append(stages, r.Stage)
		}
	}
	return stages
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMachine is the whole life of a root: files are read while the image
// arrives and the swarm engine is killed again and again; the image completes
// and is handed over under a reader; peerd is killed and the root goes on.
func TestMachine(t *testing.T) {
	m := newMachine(t, 48, 100)
	dir := t.TempDir()
	check(t, unix.Mount(m.device, dir, "squashfs", unix.MS_RDONLY, ""))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 48 {
		if i == 24 || i == 25 { // the piece held back is there
			continue
		}
		if i%16 == 0 {
			wg.Go(m.killEngine)
		}
		name := fmt.Sprintf("file%03d", i)
		want := make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{byte(i)}).Read(want)
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %v, right content: %v", name, err, bytes.Equal(got, want))
		}
	}
	wg.Wait() // the last engine is there
	if n := m.status().Progress.Restarts; n != 3 {
		t.Errorf("%d restarts; want 3", n)
	}

	check(t, os.MkdirAll(filepath.Dir(stage.ReadyFile), 0o755))
	check(t, os.WriteFile(stage.ReadyFile, nil, 0o600))
	t.Cleanup(func() { os.Remove(stage.ReadyFile) })
	if r := m.server.wait(stage.Ready); len(r.Touched) == 0 || r.Progress.Have >= r.Progress.Pieces {
		t.Errorf("ready reported with %d touches and %d of %d pieces; want some touches and an incomplete image", len(r.Touched), r.Progress.Have, r.Progress.Pieces)
	}

	// All but the piece held back.
	buf := alignedBuffer(int(m.pieces.Length))
	dev := m.open()
	for i := range m.pieces.Count() {
		if i != 100 {
			check(t, m.read(dev, buf, m.pieces.Offset(i)))
		}
	}
	t.Logf("before the hand-over: %+v", *m.status().Progress)

	wg.Go(func() {
		buf, dev := alignedBuffer(64<<10), m.open()
		for {
			select {
			case <-stop:
				return
			default:
				if err := m.read(dev, buf, 4096*rand.Int64N(int64(len(m.image))/4096)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	m.server.release(m.pieces.Offset(100))
	m.server.wait(stage.Seeding)
	close(stop)
	wg.Wait()
	want := []stage.Stage{stage.Swarm, stage.Ready, stage.Complete, stage.HandedOver, stage.Seeding}
	if got := m.server.stages(); !slices.Equal(got, want) {
		t.Errorf("stages = %v; want %v", got, want)
	}
	status := m.status()
	t.Logf("after it: %+v", *status.Progress)
	for _, pid := range []int{status.PID, status.Engine} {
		check(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	m.peerd.Wait()
	for i := range m.pieces.Count() {
		check(t, m.read(dev, buf, m.pieces.Offset(i)))
	}
	names, err := os.ReadDir(dir)
	check(t, err)
	for _, name := range names {
		_, err := os.ReadFile(filepath.Join(dir, name.Name()))
		check(t, err)
	}
}

// TestReadsGoOnBesideAMissingPiece: more reads than FUSE's ordinary limit wait
// for one piece, and others are served.
func TestReadsGoOnBesideAMissingPiece(t *testing.T) {
	m := newMachine(t, 8, 5)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := m.read(m.open(), alignedBuffer(4096), m.pieces.Offset(5)+4096*int64(i)); err != nil {
				t.Error(err)
			}
		})
	}
	for m.status().Progress.Waiting == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	dev, buf := m.open(), alignedBuffer(4096)
	for i := range m.pieces.Count() {
		if i != 5 {
			check(t, m.read(dev, buf, m.pieces.Offset(i)))
		}
	}
	t.Logf("%+v", *m.status().Progress)
	m.server.release(m.pieces.Offset(5))
	wg.Wait()
}

// TestUnfitDescriptionIsTold: init is told in one line why there will be no root.
func TestUnfitDescriptionIsTold(t *testing.T) {
	dir := t.TempDir()
	ready, theirs, err := os.Pipe()
	check(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"@peerd", "peerd", "root", "--description", filepath.Join(dir, "none"), "--keys", dir, "--ready-fd", "3", "--log", "stderr"}
	cmd.ExtraFiles = []*os.File{theirs}
	check(t, cmd.Start())
	theirs.Close()
	told, err := io.ReadAll(ready)
	check(t, err)
	if cmd.Wait() == nil || !strings.HasPrefix(string(told), "failed: no trusted key") {
		t.Errorf("peerd root told %q; want a failure and its reason", told)
	}
}
