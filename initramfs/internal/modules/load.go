package modules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Loader loads modules into the running kernel and remembers what it has
// tried. It serves one goroutine.
type Loader struct {
	tree   *Tree
	dir    string
	tried  map[string]error // by module; nil if it is loaded
	served map[string]bool  // modaliases of devices that were seen
}

// Open reads the module tree of the running kernel.
func Open() (*Loader, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("kernel release: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	dir := filepath.Join("/lib/modules", release)
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("no modules for kernel %s: the image's module archive is missing or belongs to another kernel: %w", release, err)
	}
	tree, err := Parse(os.DirFS(dir))
	if err != nil {
		return nil, err
	}
	return &Loader{tree: tree, dir: dir, tried: map[string]error{}, served: map[string]bool{}}, nil
}

// Load loads modules by name, each with what it needs. One that is built in is
// no error.
func (l *Loader) Load(names ...string) error {
	var errs []error
	for _, name := range names {
		if !l.tree.Knows(name) {
			errs = append(errs, fmt.Errorf("module %s is neither in %s nor built into the kernel", name, l.dir))
			continue
		}
		if err := l.load(name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// load fails if name fails; its dependencies' errors then tell why. A soft
// dependency alone that fails is no error.
func (l *Loader) load(name string) error {
	var errs []error
	failed := false
	for _, module := range l.tree.Plan(name) {
		err, done := l.tried[module]
		if !done {
			err = insert(filepath.Join(l.dir, l.tree.file[module]))
			l.tried[module] = err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("load module %s: %w", module, err))
			failed = failed || module == underscores(name)
		}
	}
	if !failed {
		return nil
	}
	return errors.Join(errs...)
}

func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// Coldplug loads the drivers of all devices that are there. A bus's driver
// brings new devices (virtio behind PCI), so it goes on until none is new; as
// buses find devices in their own time, it is called again while one is missing.
// The error tells what failed for devices not seen before.
func (l *Loader) Coldplug() error {
	var errs []error
	for {
		news := l.newDevices()
		if len(news) == 0 {
			return errors.Join(errs...)
		}
		for _, modalias := range news {
			for _, module := range l.tree.ForDevice(modalias) {
				if err := l.load(module); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
}

func (l *Loader) newDevices() []string {
	files, _ := filepath.Glob("/sys/bus/*/devices/*/modalias") // fails for a bad pattern only
	var news []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		modalias := strings.TrimSpace(string(data))
		if err != nil || modalias == "" || l.served[modalias] { // a device may go while we look
			continue
		}
		l.served[modalias] = true
		news = append(news, modalias)
	}
	return news
}
