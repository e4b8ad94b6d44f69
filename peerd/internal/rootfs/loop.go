package rootfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// loopChangeFD is LOOP_CHANGE_FD of <linux/loop.h>, which x/sys does not have.
const loopChangeFD = 0x4c06

// Loop is a loop device with the image behind it.
type Loop struct {
	device *os.File
	direct bool
}

// Attach puts the loop device on the image file at path, read-only. Direct I/O
// spares the machine a second copy of every block in its page cache and lets
// reads wait side by side; where the kernel refuses it, the device is buffered.
func Attach(device, path string) (*Loop, error) {
	dev, err := os.Open(device)
	if err != nil {
		return nil, fmt.Errorf("open the loop device: %w", err)
	}
	// Not os.Open: it asks whether the file can be polled, in a way that holds
	// up the whole Go program, the one that has to answer the question included.
	file, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("open the image file %s: %w", path, err)
	}
	defer unix.Close(file) // the device keeps its own reference

	config := unix.LoopConfig{Fd: uint32(file)}
	config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_DIRECT_IO
	copy(config.Info.File_name[:], "swarmboot") // as losetup shows it
	err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
	if err == unix.EINVAL {
		config.Info.Flags &^= unix.LO_FLAGS_DIRECT_IO
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
	}
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("put %s on %s: %w", device, path, err)
	}
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("ask how %s was set up: %w", device, err)
	}
	return &Loop{device: dev, direct: info.Flags&unix.LO_FLAGS_DIRECT_IO != 0}, nil
}

// Direct tells whether the device uses direct I/O now.
func (l *Loop) Direct() bool { return l.direct }

// MoveTo puts another file with the same content behind the device while it is
// mounted and read. The kernel first waits for the answers to all reads under
// way, so the old file must go on being served until MoveTo returns.
func (l *Loop) MoveTo(file *os.File) error {
	if err := unix.IoctlSetInt(int(l.device.Fd()), loopChangeFD, int(file.Fd())); err != nil {
		return fmt.Errorf("move %s to %s: %w", l.device.Name(), file.Name(), err)
	}
	return nil
}

// Detach takes the file away from the device, at once or, if the device is
// still mounted, when it no longer is.
func (l *Loop) Detach() error {
	if err := unix.IoctlSetInt(int(l.device.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		return fmt.Errorf("detach %s: %w", l.device.Name(), err)
	}
	return nil
}

// Close lets go of the device, which stays as it is.
func (l *Loop) Close() error { return l.device.Close() }
