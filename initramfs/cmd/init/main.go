// Init is PID 1 of a machine that boots from Swarmboot. The kernel starts it
// from the initramfs; nobody starts it by hand.
//
// It loads the drivers, brings the booting NIC up, fetches the machine's boot
// description, starts peerd, makes a root out of the image that peerd serves,
// and becomes the image's own init. How far it came stands on every console, in
// the kernel log and, once the network is up, at the boot server.
//
// It obeys these kernel arguments, which the boot server writes:
//
//	swarmboot.server=URL   the boot server, http://HOST[:PORT]
//	swarmboot.mac=MAC      the NIC that the machine boots from
//	swarmboot.token=WORD   what gives the machine its identity, once in each boot
//	swarmboot.discover     tell the server what the machine is, and wait until
//	                       somebody has adopted it
//	swarmboot.local        start from the disk, where an earlier boot has put the image
//	swarmboot.trace        tell the boot server which files the system opens as it starts
//	swarmboot.prefetch     start the image only when all of it is here
//	swarmboot.rescue       after a failure open a shell on the console;
//	                       when it ends, the boot is tried again
//
// A swarmboot argument that is not one of these is refused. Everything else on
// the command line is for the kernel and for the image's init.
//
// Whatever fails is told and tried again from the start, for ever, after 1, 2,
// 4 and at last every 60 seconds: the server, a cable or the image may be mended
// meanwhile. The keys that it trusts are in /etc/swarmboot/keys.
//
// A boot reads attempt (boot.go), describe (description.go), identify (identity.go),
// startPeerd (peerd.go), mountRoot (root.go); one from the disk attemptLocal
// (local.go). console.go is what people see of it, report.go what the server hears.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first program of a machine that boots; it runs as process 1 only")
		os.Exit(1)
	}
	// The default action of these would end PID 1, and with it the kernel. They
	// are caught, not ignored: an ignored signal would stay so in peerd and in the
	// image's init.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)

	ctx := context.Background()
	mounted := mountKernelFiles()
	b := &boot{console: openConsoles(), next: firstStage}
	for failures := 0; ; failures++ {
		err := guard(func() error {
			if mounted != nil {
				return mounted
			}
			return b.attempt(ctx)
		})
		pause := backoff(failures)
		if b.args.Rescue {
			b.failed(ctx, err, "a shell on the console")
			b.console.Shell()
		} else {
			b.failed(ctx, err, "trying again in "+pause.Round(time.Second).String())
			time.Sleep(pause)
		}
	}
}

// mountKernelFiles mounts the file systems through which the kernel speaks.
func mountKernelFiles() error {
	var errs []error
	for _, m := range []struct{ target, fstype string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			errs = append(errs, err)
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, unix.MS_NOSUID, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.target, err))
		}
	}
	return errors.Join(errs...)
}
