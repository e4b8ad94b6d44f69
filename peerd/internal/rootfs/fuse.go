package rootfs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxRead is the largest read the kernel sends us. With 1 MiB the answer
	// would not fit into a pipe of the largest size an ordinary kernel allows
	// (1 MiB, header included), and splicing would silently become copying.
	maxRead = 512 << 10

	// maxWaiting is how many reads may wait at once. The kernel's default of
	// 12 would let a dozen reads of missing pieces hold up every read of
	// pieces that are here; a loop device has at most 128 requests in flight,
	// each of which may become a few of ours.
	maxWaiting = 1024

	forever = 365 * 24 * time.Hour // nothing here ever changes
)

// Mount is the FUSE file system with the image in it.
type Mount struct {
	dir    string
	served chan struct{} // closed when the kernel has let go of the file system
}

// MountAt serves img as a file named "root" in a new file system at dir. It
// mounts by itself, without helper programs, and must therefore be called by
// root, in a mount namespace of its own: in the machine's first one, every
// service's private namespace would copy the mount and keep it for ever.
func MountAt(dir string, img *Image) (*Mount, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the FUSE folder: %w", err)
	}
	// The library's own direct mount would leave the descriptor open for child
	// processes; the swarm engine is one.
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=%d", dev, maxRead)
	if err := unix.Mount("swarmboot", dir, "fuse", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		unix.Close(dev)
		return nil, fmt.Errorf("mount FUSE at %s: %w", dir, err)
	}
	cached := forever
	raw := fs.NewNodeFS(&folder{img: img}, &fs.Options{EntryTimeout: &cached, AttrTimeout: &cached})
	server, err := fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", dev), &fuse.MountOptions{
		MaxWrite:      maxRead, // the library's word for the size of a request
		MaxBackground: maxWaiting,
		// Without asynchronous direct I/O the loop device would send its next
		// read only after the last one has been answered: one missing piece
		// would stop the machine.
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
		DisableXAttrs:     true,
		Logger:            slog.NewLogLogger(img.log.Handler(), slog.LevelWarn),
	})
	if err != nil {
		unix.Unmount(dir, unix.MNT_DETACH)
		return nil, fmt.Errorf("serve FUSE at %s: %w", dir, err)
	}
	m := &Mount{dir: dir, served: make(chan struct{})}
	go func() {
		server.Serve()
		close(m.served)
	}()
	return m, nil
}

// Path is where the image file appears.
func (m *Mount) Path() string { return filepath.Join(m.dir, "root") }

// Unmount takes the file system away. It waits until the kernel has let go of
// it, but not beyond ctx: somebody may still have the file open.
func (m *Mount) Unmount(ctx context.Context) error {
	if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount FUSE at %s: %w", m.dir, err)
	}
	select {
	case <-m.served:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("unmount FUSE at %s: still in use: %w", m.dir, ctx.Err())
	}
}

// folder is the root folder of the file system, with nothing but the image.
type folder struct {
	fs.Inode
	img *Image
}

var _ = (fs.NodeOnAdder)((*folder)(nil))

func (f *folder) OnAdd(ctx context.Context) {
	file := &imageFile{img: f.img}
	f.AddChild("root", f.NewPersistentInode(ctx, file, fs.StableAttr{Mode: fuse.S_IFREG}), false)
}

// imageFile is the image as the library wants to see a file.
type imageFile struct {
	fs.Inode
	img *Image
}

var (
	_ = (fs.NodeGetattrer)((*imageFile)(nil))
	_ = (fs.NodeOpener)((*imageFile)(nil))
	_ = (fs.NodeReader)((*imageFile)(nil))
)

func (f *imageFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = fuse.S_IFREG | 0o400
	out.Size = uint64(f.img.pieces.Size)
	out.Blocks = (out.Size + 511) / 512
	return 0
}

func (f *imageFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

// Read waits for the pieces and lets the kernel take the bytes straight from
// the store's file. The context of the request, which ends when the reading
// process is interrupted, is left aside: a read is answered with data or not
// at all, and EINTR only ever goes out when peerd itself is ending.
func (f *imageFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := f.img.await(off, len(dest))
	if err != nil {
		return nil, syscall.EINTR
	}
	return fuse.ReadResultFd(f.img.store.File().Fd(), off, n), 0
}

// SwitchOffTimeouts sets the limits that kernels since 6.15 can put on the time
// a FUSE request may take to none, if there are any: a root whose server was
// given up by the kernel would be lost. It must run before MountAt.
func SwitchOffTimeouts() error {
	for _, name := range []string{"default_request_timeout", "max_request_timeout"} {
		path := filepath.Join("/proc/sys/fs/fuse", name)
		value, err := os.ReadFile(path)
		if os.IsNotExist(err) || err == nil && string(value) == "0\n" {
			continue
		}
		if err == nil {
			err = os.WriteFile(path, []byte("0\n"), 0)
		}
		if err != nil {
			return fmt.Errorf("switch off the FUSE time-out: %w", err)
		}
	}
	return nil
}
