// Mkinitramfs builds the initramfs that all machines share: init, peerd and a
// rescue shell, without kernel modules and keys. It is run in the source tree.
//
// Usage:
//
//	go run ./initramfs/cmd/mkinitramfs [-o FILE]
//
// The flags are:
//
//	-o FILE
//		write the archive to FILE (default initramfs.cpio.zst); FILE is
//		replaced only when all has gone well
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"swarmboot/initramfs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkinitramfs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mkinitramfs", flag.ExitOnError)
	output := flags.String("o", "initramfs.cpio.zst", "write the archive to `FILE`")
	arch := flags.String("arch", "amd64", "make it for machines with this `PROCESSOR`: amd64 or arm64")
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	sizes, err := initramfs.Build(ctx, initramfs.Options{Output: *output, Arch: *arch})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, %d unpacked\n", *output, sizes.Compressed, sizes.Raw)
	return nil
}
