// Package trace notes which files a system opens while it starts, in their
// order, so that the next image can have them side by side.
//
// The kernel tells of every open on the root's file system (fanotify(7)), in
// whatever mount namespace. init starts cmd/peerd as a tracer, on machines that
// are asked to, before it enters the root.
package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MaxFiles bounds a trace; a boot opens some hundred files.
const MaxFiles = 10_000

// A Tracer hears of the opens on one file system.
type Tracer struct {
	root string
	f    *os.File
}

// Open begins to listen to the file system at root. What is opened from now on
// is in the trace.
func Open(root string) (*Tracer, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_QUEUE, unix.O_RDONLY|unix.O_LARGEFILE|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("trace %s: fanotify: %w", root, err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN|unix.FAN_OPEN_EXEC, unix.AT_FDCWD, root); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("trace %s: fanotify: %w", root, err)
	}
	return &Tracer{root, os.NewFile(uintptr(fd), "fanotify")}, nil
}

// Files returns the files in the order of their first opens, as absolute paths
// in the root, when done says so. It asks every second.
func (t *Tracer) Files(ctx context.Context, done func() bool) ([]string, error) {
	defer t.f.Close()
	var files []string
	seen := map[string]bool{}
	buf := make([]byte, 64<<10)
	for next := time.Now(); ; {
		if now := time.Now(); !now.Before(next) {
			if done() || len(files) == MaxFiles {
				return files, nil
			}
			next = now.Add(time.Second)
		}
		if err := context.Cause(ctx); err != nil {
			return files, err
		}
		if err := t.f.SetReadDeadline(next); err != nil {
			return files, fmt.Errorf("trace: %w", err)
		}
		n, err := t.f.Read(buf)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return files, fmt.Errorf("trace: %w", err)
		}
		fds, err := parse(buf[:max(n, 0)])
		for _, fd := range fds {
			name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
			unix.Close(fd)
			if name = t.inRoot(name); err == nil && !seen[name] && len(files) < MaxFiles {
				seen[name] = true
				files = append(files, name)
			}
		}
		if err != nil {
			return files, err
		}
	}
}

// inRoot is the path of a file as the system knows it. The root begins its life
// on a mount point and is moved to / then.
func (t *Tracer) inRoot(name string) string {
	if inside, found := strings.CutPrefix(name, t.root+"/"); found {
		return "/" + inside
	}
	return name
}

// parse returns the open files in what fanotify gives to read: a row of struct
// fanotify_event_metadata, each with its length in front.
func parse(events []byte) (fds []int, err error) {
	const size, version = 24, 3
	for len(events) > 0 {
		if len(events) < size {
			return fds, fmt.Errorf("trace: an event of %d bytes", len(events))
		}
		length := int(binary.NativeEndian.Uint32(events))
		if length < size || length > len(events) || events[4] != version {
			return fds, fmt.Errorf("trace: an event of version %d that says it has %d bytes", events[4], length)
		}
		if fd := int32(binary.NativeEndian.Uint32(events[16:])); fd >= 0 { // else the queue ran over
			fds = append(fds, int(fd))
		}
		events = events[length:]
	}
	return fds, nil
}
