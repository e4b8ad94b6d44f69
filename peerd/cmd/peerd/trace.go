package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"swarmboot/initramfs/stage"
	"swarmboot/peerd/internal/trace"
)

const (
	traceMargin = 5 * time.Second  // after the login, for what starts beside it
	traceLimit  = 10 * time.Minute // for a system that never says it is ready
	tries       = 20               // to tell the server, a second apart
)

// runTrace traces one boot and tells the server.
func runTrace(ctx context.Context, args []string) error {
	signal.Ignore(syscall.SIGHUP)
	flags := flag.NewFlagSet("peerd trace", flag.ContinueOnError)
	var (
		root    = flags.String("root", "", "`folder` that the root is mounted on")
		server  = flags.String("server", "", "`URL` of the boot server")
		machine = flags.String("machine", "", "`MAC` of this machine")
		image   = flags.String("image", "", "`image` that it boots")
		readyFD = flags.Int("ready-fd", 3, "`file descriptor` for \"ready\"")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	parent := os.NewFile(uintptr(*readyFD), "ready")
	tracer, err := trace.Open(*root)
	if err != nil {
		fmt.Fprintln(parent, "failed:", err)
		return err
	}
	fmt.Fprintln(parent, "ready")
	parent.Close()

	end := time.Now().Add(traceLimit)
	files, err := tracer.Files(ctx, func() bool {
		if info, err := os.Stat("/proc/1/root" + stage.ReadyFile); err == nil {
			end = info.ModTime().Add(traceMargin)
		}
		return time.Now().After(end)
	})
	if err != nil {
		return err
	}
	return tellServer(ctx, *server, stage.Report{Machine: *machine, Image: *image, Stage: stage.Ready, Files: files})
}

// tellServer sends a report, again if it is not taken.
func tellServer(ctx context.Context, server string, r stage.Report) (err error) {
	client := stage.NewClient(server)
	for range tries {
		err = client.Send(ctx, r)
		if err == nil {
			return nil
		}
		time.Sleep(time.Second)
	}
	return err
}
