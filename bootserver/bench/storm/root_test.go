package storm

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/images"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/peerd"
	"swarmboot/peerd/announce"
)

// bootOverFUSE is a machine with all of peerd: its two processes, FUSE, and a loop
// device that the boot reads from.
func bootOverFUSE(ctx context.Context, l *load, dir, server string, own netip.Addr, compute time.Duration) error {
	cfg := peerd.RootConfig{
		Description: bootargs.Description{
			Machine: fmt.Sprintf("52:54:00:00:00:%02x", own.As4()[3]),
			Image:   "storm@1",
			Torrent: l.Torrent,
			Tracker: fmt.Sprintf("http://%s:%d%s", server, trackerPort, announce.Path),
			Seeder:  net.JoinHostPort(server, strconv.Itoa(swarmPort)),
			RootURL: fmt.Sprintf("http://%s:%d%s", server, trackerPort, rootPath),
			Rack:    rackName(own),
			Profile: l.Profile,
		},
		Dir:          dir,
		Server:       fmt.Sprintf("http://%s:%d", server, trackerPort),
		Listen:       netip.AddrPortFrom(netip.IPv4Unspecified(), swarmPort),
		Engine:       []string{"@storm", "storm-engine"},
		ReadyFile:    filepath.Join(dir, "ready"),
		StatusSocket: peerd.StatusSocket,
		Log:          discard,
	}
	c, err := l.catalogue()
	if err != nil {
		return err
	}
	image, err := c.Get(images.Ref{Name: "storm", Version: "1"})
	if err != nil {
		return err
	}
	cfg.Description.Manifest = image.Envelope
	if cfg.Trusted, err = envelope.ReadTrusted(l.path("keys")); err != nil {
		return err
	}
	// Two machines must not take the same device. The lock is free again when the
	// device is taken, or the program ends.
	lock, err := os.Create(l.path("loop.lock"))
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if cfg.LoopDevice, err = freeLoop(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		cancel(peerd.RunRoot(ctx, cfg, func() { lock.Close(); close(ready) }))
		close(ended)
	}()
	select {
	case <-ready:
	case <-ended:
		return context.Cause(ctx)
	}
	if err := l.boot(cfg.LoopDevice, compute); err != nil {
		return err
	}
	if err := os.WriteFile(cfg.ReadyFile, nil, 0o644); err != nil {
		return err
	}
	say("ready", nil)
	<-ended
	return nil
}

// boot reads the trace from a device, past the page cache, and verifies it.
func (l *load) boot(device string, compute time.Duration) error {
	root, err := os.OpenFile(device, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	buf, err := unix.Mmap(-1, 0, int(l.pieceLength), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	return l.replay(func(piece int) error {
		data := buf[:l.Pieces.Len(piece)]
		if _, err := root.ReadAt(data, l.Pieces.Offset(piece)); err != nil {
			return err
		}
		return l.Pieces.Verify(piece, data)
	}, compute)
}

// freeLoop names a loop device that nobody uses.
func freeLoop() (string, error) {
	control, err := os.Open("/dev/loop-control")
	if err != nil {
		return "", err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	return "/dev/loop" + strconv.Itoa(n), err
}

// runEngine is the second process of peerd, which it starts with its link on
// descriptor 3 and the image on 4.
func runEngine([]string) error {
	link := os.NewFile(3, "link")
	conn, err := net.FileConn(link)
	link.Close() // conn has a copy
	if err != nil {
		return err
	}
	return peerd.RunEngine(context.Background(), conn, os.NewFile(4, "image"), discard)
}

// rootPath is where our server has the image, for ranges over HTTP.
const rootPath = "/root"
