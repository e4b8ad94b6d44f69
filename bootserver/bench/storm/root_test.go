package storm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd"
)

// bootOverFUSE is a machine with all of peerd: its two processes, FUSE, and a loop
// device that the boot reads from.
func bootOverFUSE(ctx context.Context, l *load, dir, address string, compute time.Duration) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "storm-root", l.dir, dir, address)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = input.Close
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer input.Close()
	device, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return err
	}
	if err := l.boot(strings.TrimSpace(device), compute); err != nil {
		return err
	}
	if err := os.WriteFile(readyFile(dir), nil, 0o644); err != nil {
		return err
	}
	say("ready", nil)
	<-ctx.Done()
	return nil
}

// readyFile tells the root server that the system has booted.
func readyFile(dir string) string { return filepath.Join(dir, "ready") }

// runRoot is the root server. It prints the loop device that the root is on, and
// ends with its input. A process of its own: if it dies, its reader must not hang.
func runRoot(args []string) error {
	folder, dir, address := args[0], args[1], args[2]
	l, err := readLoad(folder)
	if err != nil {
		return err
	}
	own, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	cfg := peerd.RootConfig{
		Description: bootargs.Description{
			Machine: fmt.Sprintf("52:54:00:00:00:%02x", own.As4()[3]),
			Image:   "storm@1",
			Torrent: l.Torrent,
			Tracker: trackerURL,
			Seeder:  seederAddress.String(),
			RootURL: rootURL,
			Rack:    rackName(own),
			Profile: l.Profile,
		},
		Dir:          dir,
		Server:       webURL,
		Listen:       netip.AddrPortFrom(netip.IPv4Unspecified(), swarmPort),
		Engine:       []string{"@storm", "storm-engine"},
		ReadyFile:    readyFile(dir),
		StatusSocket: peerd.StatusSocket,
		Log:          discard,
		Progress:     func(stage.Progress) error { return nil },
	}
	image, err := l.published()
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
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return peerd.RunRoot(ctx, cfg, func() {
		lock.Close()
		fmt.Println(cfg.LoopDevice)
	})
}

// boot reads the trace from a device, past the page cache, and verifies it.
func (l *load) boot(device string, compute time.Duration) error {
	root, err := os.OpenFile(device, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	buf, err := unix.Mmap(-1, 0, int(l.Pieces.Length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
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
