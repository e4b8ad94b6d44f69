// Package tftp hands out the loaders: the first program that a machine fetches.
//
// It serves a few files, read only, and nothing else; everything after the loader
// goes over HTTP. bootserver.Server is its only caller.
//
// The protocol is pin/tftp's, with the settings that measurement left over: no
// single-port mode (a malformed datagram ends the process) and no anticipation
// (it stalls for ever after one lost packet).
package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pin/tftp/v3"
	"golang.org/x/sys/unix"

	"swarmboot/bootserver/internal/socket"
)

const (
	// blockSize fills an Ethernet frame: 1500 less IP, UDP and TFTP headers.
	// The library alone would grant four bytes too many and fragment.
	blockSize = 1468
	timeout   = time.Second
	retries   = 3 // a dead machine is given up after four seconds

	maxFile       = 16 << 20
	maxTransfers  = 512
	maxPerMachine = 8
)

var (
	errNotFound = errors.New("file not found") // the text that machines see
	errBusy     = errors.New("server is busy")
	errInternal = errors.New("internal error")
	errStopped  = errors.New("server stops")
)

// Config says what to serve.
type Config struct {
	Dir string // folder of the loaders, which are opened once
	// Make makes what is not a file, for the machine that asks at one of this
	// server's addresses; it may be nil.
	Make func(server netip.Addr, name string) (data []byte, ok bool)
	Log  *slog.Logger
	// Loading is told which address fetches which file. It may be told twice:
	// UEFI first asks for the size alone.
	Loading func(machine netip.Addr, file string)
}

// Server serves the files that were in the folder when it was made.
type Server struct {
	cfg   Config
	files map[string]file

	mu      sync.Mutex
	running map[netip.Addr]int           // guarded by mu; transfers by machine
	total   int                          // guarded by mu
	ports   map[netip.AddrPort]*transfer // guarded by mu; transfers by the machine's port
}

// A file stays open, so that it is sent as it was even if another takes its name.
// The kernel keeps what is read often in memory, once for all transfers.
type file struct {
	from io.ReaderAt
	size int64
}

// New opens the loaders.
func New(cfg Config) (*Server, error) {
	files, err := openFiles(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open loaders: %w", err)
	}
	return &Server{cfg: cfg, files: files, running: map[netip.Addr]int{}, ports: map[netip.AddrPort]*transfer{}}, nil
}

func openFiles(dir string) (map[string]file, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	files := map[string]file{}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() > maxFile {
			continue
		}
		f, err := root.Open(entry.Name())
		if err != nil {
			return nil, err
		}
		files[entry.Name()] = file{f, info.Size()}
	}
	return files, nil
}

// Has tells whether the server serves a file of that name.
func (s *Server) Has(name string) bool {
	_, ok := s.files[name]
	return ok
}

// Listen opens the port. Where a packet came in must be recorded from the first
// one on: without that the library grants blocks of 512 bytes.
func Listen(ctx context.Context, address netip.AddrPort) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var errSet error
		err := raw.Control(func(fd uintptr) {
			if address.Addr().Is4() {
				errSet = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			} else {
				errSet = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			}
			socket.MakeRoom(fd)
		})
		return errors.Join(err, errSet)
	}}
	conn, err := lc.ListenPacket(ctx, "udp", address.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// Serve answers until ctx is done and transfers have ended. It closes conn.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	server := tftp.NewServer(func(name string, to io.ReaderFrom) error { return s.read(ctx, name, to) }, nil)
	server.SetBlockSize(blockSize)
	if local, ok := conn.LocalAddr().(*net.UDPAddr); ok && local.AddrPort().Addr().Unmap().Is6() {
		server.SetBlockSize(blockSize - 20) // IPv6's header is so much longer
	}
	server.SetTimeout(timeout)
	server.SetRetries(retries)
	server.SetBackoff(func(int) time.Duration { return 0 }) // the timeout has passed already
	server.SetHook(hook{s.cfg.Log})

	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(ended)
		server.Shutdown()
	})
	err := server.Serve(conn) // returns nil, and only after Shutdown, unless it cannot start
	if err != nil && ctx.Err() == nil {
		conn.Close()
		return fmt.Errorf("serve: %w", err)
	}
	<-ended
	return nil
}

// read answers one request. A panic costs that transfer alone.
func (s *Server) read(ctx context.Context, name string, to io.ReaderFrom) (err error) {
	request := to.(tftp.OutgoingTransfer)
	remote := request.RemoteAddr()
	machine := remote.AddrPort().Addr().Unmap()
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("transfer failed", "peer", machine, "file", name, "err", p)
			err = errInternal
		}
	}()
	f, ok := s.files[clean(name)]
	if !ok && s.cfg.Make != nil {
		var data []byte
		data, ok = s.cfg.Make(server(request), clean(name))
		f = file{bytes.NewReader(data), int64(len(data))}
	}
	if !ok {
		// Loaders look for optional files (autoexec.ipxe, revocations.efi): the
		// answer is no, and no trouble.
		s.cfg.Log.Debug("no such file", "peer", machine, "file", name)
		return errNotFound
	}
	t, ok := s.claim(remote.AddrPort())
	if !ok {
		s.cfg.Log.Debug("repeated request ignored", "peer", machine, "file", name)
		return nil // and no packet; the runtime closes the library's socket
	}
	defer s.free(remote.AddrPort(), t)
	if !s.admit(machine) {
		s.cfg.Log.Warn("transfer refused: too many at once", "peer", machine, "file", name)
		return errBusy
	}
	defer s.dismiss(machine)
	s.cfg.Loading(machine, clean(name))
	request.SetSize(f.size)
	// The library has reported to the hook whatever went wrong.
	_, errSend := to.ReadFrom(stoppable{ctx, io.NewSectionReader(f.from, 0, f.size)})
	t.whole = errSend == nil
	return nil
}

// server is the address of ours that the machine has asked.
func server(request tftp.OutgoingTransfer) netip.Addr {
	info, ok := request.(tftp.RequestPacketInfo)
	if !ok {
		return netip.Addr{}
	}
	address, _ := netip.AddrFromSlice(info.LocalIP())
	return address.Unmap()
}

// admit counts a transfer to a machine, unless there are too many.
func (s *Server) admit(machine netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxTransfers || s.running[machine] >= maxPerMachine {
		return false
	}
	s.total++
	s.running[machine]++
	return true
}

// dismiss ends what admit has begun.
func (s *Server) dismiss(machine netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.running[machine]--; s.running[machine] == 0 {
		delete(s.running, machine)
	}
}

// clean turns what firmware asks for into the name of a file. ROMs send leading
// slashes, backslashes, and rubbish after a NUL or 0xFF.
func clean(name string) string {
	name, _, _ = strings.Cut(name, "\x00")
	name, _, _ = strings.Cut(name, "\xff")
	name = strings.TrimLeft(strings.ReplaceAll(name, `\`, "/"), "/")
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return ""
		}
	}
	return path.Clean(name)
}

// stoppable ends a transfer at its next block when the server stops.
type stoppable struct {
	ctx  context.Context
	from io.Reader
}

func (r stoppable) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errStopped
	}
	return r.from.Read(p)
}

// hook logs how transfers end.
type hook struct{ log *slog.Logger }

func (h hook) OnSuccess(t tftp.TransferStats) {
	h.log.Info("loader sent", "peer", t.RemoteAddr, "file", t.Filename, "seconds", t.Duration.Seconds(), "packets", t.DatagramsSent, "repeated", t.DatagramsSent-t.DatagramsAcked)
}

func (h hook) OnFailure(t tftp.TransferStats, err error) {
	switch {
	case errors.Is(err, errNotFound) || errors.Is(err, errBusy) || errors.Is(err, errInternal):
		// told already
	case t.DatagramsAcked == 0 && strings.Contains(err.Error(), "sending block 0: code="):
		// UEFI asks for the size, aborts, and asks again for the file.
		h.log.Debug("size asked for", "peer", t.RemoteAddr, "file", t.Filename)
	case t.Filename == "":
		h.log.Debug("packet ignored", "err", err)
	default:
		h.log.Warn("loader was not sent", "peer", t.RemoteAddr, "file", t.Filename, "err", err)
	}
}
