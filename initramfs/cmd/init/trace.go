package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"swarmboot/initramfs/bootargs"
)

// startTracer has a process listen to what is opened in the root from now on.
// It stays in the initramfs, and the image's init leaves it alone, as it does
// peerd.
func startTracer(args bootargs.Args, image, root string) error {
	cmd := peerdCommand("trace", "--root", root, "--server", args.Server, "--machine", args.MAC.String(), "--image", image)
	ready, err := startLogging(cmd, cmd.Start)
	if err != nil {
		return err
	}
	defer ready.Close()
	if err := ready.SetReadDeadline(time.Now().Add(readyTimeout)); err != nil {
		return err
	}
	line, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the tracer says nothing: %w", err)
	}
	return readyLine(strings.TrimSpace(line))
}
