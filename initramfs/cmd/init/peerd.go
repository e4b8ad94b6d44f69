package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/stage"
)

const (
	loopDevice = "/dev/loop0"
	peerdDir   = "/run/swarmboot"

	// Until its next word peerd reads the description and sets up FUSE and the
	// loop device: a second, or several on a busy emulated machine. From then on it
	// tells once a second how much of the image has come.
	readyTimeout = 90 * time.Second
)

// peerd is the process that serves the image.
type peerd struct {
	cmd   *exec.Cmd
	ready *os.File      // it says here when the loop device is set up
	ended chan struct{} // closed when the process has ended
	err   error         // how; to be read after ended
}

// startPeerd starts it in a mount namespace of its own, so that no service of
// the image inherits its FUSE mount, and in a session of its own, so that
// closing the console does not end it. Its log goes to the kernel's.
func startPeerd(args bootargs.Args) (*peerd, error) {
	if err := os.MkdirAll(peerdDir, 0o755); err != nil {
		return nil, fmt.Errorf("start peerd: %w", err)
	}
	cmd := peerdCommand("root", "--description", descriptionFile, "--keys", keysDir, "--dir", peerdDir, "--loop", loopDevice,
		"--server", args.Server, fmt.Sprintf("--prefetch=%t", args.Prefetch))
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	ready, err := startLogging(cmd, func() error { return asIOFlusher(cmd.Start) })
	if err != nil {
		return nil, fmt.Errorf("start peerd: %w", err)
	}
	p := &peerd{cmd: cmd, ready: ready, ended: make(chan struct{})}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// peerdCommand is one of peerd's commands, as a process that outlives init.
func peerdCommand(args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path: busybox,
		// The '@' keeps systemd from killing it at shutdown; the second word is
		// what the busybox goes by.
		Args:        append([]string{"@peerd", "peerd"}, args...),
		Dir:         "/",
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
}

// startLogging starts a command whose log goes to the kernel's, and returns what it
// says on the descriptor that --ready-fd names.
func startLogging(cmd *exec.Cmd, start func() error) (ready *os.File, err error) {
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer tell.Close()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{tell} // the first of these is 3
	cmd.Args = append(cmd.Args, "--ready-fd", "3")
	if err := start(); err != nil {
		ready.Close()
		return nil, err
	}
	return ready, nil
}

// asIOFlusher marks what start forks as part of the way to the root device, so
// that the kernel never waits for that device to free memory for it. The mark
// belongs to a thread and is inherited.
func asIOFlusher(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("mark as I/O flusher: %w", err)
	}
	return errors.Join(start(), unix.Prctl(unix.PR_SET_IO_FLUSHER, 0, 0, 0, 0))
}

// WaitReady returns when the image can be mounted. How much of the image has
// come it shows until then, and afterwards until init becomes the image's own.
func (p *peerd) WaitReady(show func(stage.Progress, time.Time)) error {
	lines := bufio.NewReaderSize(p.ready, 4<<10)
	for {
		line, err := p.nextLine(lines)
		if err != nil {
			return err
		}
		if got, ok := stage.ParseProgressLine(line); ok {
			show(got, time.Now())
			continue
		}
		if err := readyLine(line); err != nil {
			return err
		}
		go p.follow(lines, show)
		return nil
	}
}

// follow ends when peerd does, or is stopped.
func (p *peerd) follow(lines *bufio.Reader, show func(stage.Progress, time.Time)) {
	if p.ready.SetReadDeadline(time.Time{}) != nil {
		return
	}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if got, ok := stage.ParseProgressLine(strings.TrimSpace(line)); ok {
			show(got, time.Now())
		}
	}
}

// nextLine waits for it as long as readyTimeout.
func (p *peerd) nextLine(lines *bufio.Reader) (string, error) {
	if err := p.ready.SetReadDeadline(time.Now().Add(readyTimeout)); err != nil {
		return "", fmt.Errorf("wait for peerd: %w", err)
	}
	line, err := lines.ReadString('\n')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", fmt.Errorf("peerd has said nothing for %v; its messages are in the kernel log", readyTimeout)
	case err == io.EOF && line == "":
		select { // most likely it has ended; what remains open tells nothing
		case <-p.ended:
			return "", p.Ended()
		case <-time.After(5 * time.Second):
			return "", errors.New("peerd closed its ready pipe without a word, and goes on")
		}
	case err != nil && err != io.EOF:
		return "", fmt.Errorf("wait for peerd: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// readyLine is the other end of peerd's --ready-fd.
func readyLine(line string) error {
	if line == "ready" {
		return nil
	}
	if reason, ok := strings.CutPrefix(line, "failed: "); ok {
		return fmt.Errorf("peerd: %s", reason)
	}
	return fmt.Errorf("peerd says %q; want ready or failed: REASON", line)
}

// Ended is nil while the process lives, else it tells how it ended.
func (p *peerd) Ended() error {
	select {
	case <-p.ended:
		how := "without an error"
		if p.err != nil {
			how = p.err.Error()
		}
		return fmt.Errorf("peerd has ended: %s; its messages are in the kernel log", how)
	default:
		return nil
	}
}

// Stop ends it with all its children, and frees the loop device, which would
// outlive them.
func (p *peerd) Stop() {
	p.ready.Close()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // its session is its group; gone is fine
	<-p.ended
	if fd, err := unix.Open(loopDevice, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0) // not set up is fine
		unix.Close(fd)
	}
}
