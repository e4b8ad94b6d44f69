// Lab boots a rack of virtual machines from a boot server on this computer and
// shows how they come up.
//
//	lab up      start the boot server and the machines, follow them until all
//	            of them seed, say what it took, and leave them running
//	lab add     switch on one more machine, which the boot server's settings do
//	            not name, and follow it
//	lab down    stop everything
//
// It is called by make lab, lab-add and lab-down, which build what it needs. It
// obeys these variables:
//
//	LAB_MACHINES=n     how many machines to start, 3 if not set
//	LAB_LINK=100mbit   rate of each machine's cable; not limited if not set
//	LAB_KEEP=0         stop everything at the end
//
// Everything runs in the network namespace swarmboot-lab, with files in
// ~/.cache/swarmboot/lab: the server's settings and log, a capture of the
// network, and a folder with console.log and console.sock for each machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(*lab, context.Context) error{"up": (*lab).up, "add": (*lab).add, "down": (*lab).down}
	if len(args) != 1 || commands[args[0]] == nil {
		return errors.New("usage: lab up | lab add | lab down")
	}
	l, err := newLab(os.Getenv)
	if err != nil {
		return err
	}
	return commands[args[0]](l, ctx)
}
