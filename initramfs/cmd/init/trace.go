package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"swarmboot/initramfs/bootargs"
)

// startTracer has a process listen to what is opened in the root from now on.
// It stays in the initramfs, and the image's init leaves it alone, as it does
// peerd.
func startTracer(args bootargs.Args, image, root string) error {
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := &exec.Cmd{
		Path: busybox,
		Args: []string{"@peerd", "peerd", "trace", "--root", root, "--server", args.Server,
			"--machine", args.MAC.String(), "--image", image, "--ready-fd", "3"},
		Dir:         "/",
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{tell},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return err
	}
	if err := ready.SetReadDeadline(time.Now().Add(readyTimeout)); err != nil {
		return err
	}
	line, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the tracer says nothing: %w", err)
	}
	return readyLine(strings.TrimSpace(line))
}
