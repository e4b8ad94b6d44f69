package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/segment"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd/internal/install"
)

// runInstall installs, and tells the server how it went.
func runInstall(ctx context.Context, args []string) error {
	// Somebody who logs out, or a shutdown, must not leave half a disk.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	flags := flag.NewFlagSet("peerd install", flag.ContinueOnError)
	var (
		description = flags.String("description", "", "boot description `file` (JSON), verified by init")
		server      = flags.String("server", "", "`URL` of the boot server")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	// The root server's, which it has inherited: should memory be short, this may go.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0)
	payload, err := os.ReadFile(*description)
	if err != nil {
		return fmt.Errorf("read the boot description: %w", err)
	}
	d, err := bootargs.ParseDescription(payload)
	if err != nil {
		return fmt.Errorf("boot description %s: %w", *description, err)
	}
	own, err := machineSegment(payload)
	if err == nil {
		err = install.Run(ctx, install.What{Install: d.Install, Image: "/proc/self/fd/3", Own: map[string][]byte{bootargs.MachineSegment: own}})
	}
	ended := &stage.Install{Digest: d.Install.Digest}
	if err != nil {
		ended = &stage.Install{Problem: err.Error()}
	}
	return errors.Join(err, tellServer(ctx, *server, stage.Report{Machine: d.Machine, Image: d.Image, Stage: stage.Seeding, Install: ended}))
}

// machineSegment has what init fetches on other machines.
func machineSegment(description []byte) ([]byte, error) {
	var d map[string]json.RawMessage
	if err := json.Unmarshal(description, &d); err != nil {
		return nil, err
	}
	delete(d, "profile") // long, and of no use without a swarm
	short, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	files := map[string]string{strings.TrimPrefix(bootargs.LocalDescription, "/"): string(short)}
	identity, err := os.ReadFile(bootargs.LocalIdentity)
	if err == nil {
		files[strings.TrimPrefix(bootargs.LocalIdentity, "/")] = string(identity)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return segment.Make(files, 0o600)
}

// runReady tells the server that the machine has reached its login.
func runReady(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("peerd ready", flag.ContinueOnError)
	var (
		server  = flags.String("server", "", "`URL` of the boot server")
		machine = flags.String("machine", "", "`MAC` of this machine")
		image   = flags.String("image", "", "`image` that it runs")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return tellServer(ctx, *server, stage.Report{Machine: *machine, Image: *image, Stage: stage.Ready})
}
