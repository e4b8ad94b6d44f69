// Peerd is the peer daemon of a machine that boots over the network: it serves
// the machine's root while the image arrives, and passes the image on.
//
//	peerd root --description FILE --keys DIR --dir DIR --loop DEVICE --server URL [flags]
//	peerd engine
//	peerd trace --root DIR --server URL --machine MAC --image NAME@VERSION
//	peerd install --description FILE --server URL
//	peerd ready --server URL --machine MAC --image NAME@VERSION
//	peerd status [-o text|json]
//
// # peerd root
//
// The root server. init starts it in a mount namespace of its own, with an
// argv[0] that begins with '@' so that the image's init leaves it alone. It
// ignores SIGTERM, SIGINT and SIGHUP: the machine's root hangs on it until the
// hand-over, and afterwards it may be killed with SIGKILL without harm.
//
//	--description FILE  the boot description (JSON), verified by init
//	--keys DIR          public keys (*.pem) that may sign the image's manifest
//	--dir DIR           folder in memory for the image file and the FUSE mount
//	--loop DEVICE       loop device to configure, such as /dev/loop0
//	--server URL        boot server that takes stage reports
//	--ready-fd N        file descriptor for the line "ready" or "failed: REASON", and once a second
//	                    for one about how much of the image has come (default 3)
//	--prefetch          be ready only when the image is complete and handed over
//	--listen ADDR:PORT  where peers connect (default 0.0.0.0:6881)
//	--log WHERE         kmsg (warnings, to the kernel's log; default) or stderr (everything)
//
// # peerd engine
//
// The swarm engine. Only the root server starts it, with its link on file
// descriptor 3 and the image file on 4. It ends when the link is closed.
//
// # peerd trace
//
// The tracer of a machine with the kernel argument swarmboot.trace. init starts
// it before it enters the root at DIR, and waits for its line "ready" on file
// descriptor 3. It tells the boot server which files the system has opened until
// a few seconds after its login, and ends.
//
// # peerd install
//
// The installer of a machine whose description has it start from its disk the next
// time. The root server starts it when the image is complete, with the image file
// on descriptor 3. It tells the boot server how it has ended.
//
// # peerd ready
//
// Tells the boot server that a machine that has started from its disk, where no
// root server runs, has reached its login.
//
// # peerd status
//
// Prints what the root server on this machine says about itself.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd"
)

func main() {
	args := os.Args[1:]
	// As an applet of one executable with others, peerd is named again.
	if len(args) > 0 && args[0] == "peerd" {
		args = args[1:]
	}
	err := run(context.Background(), args, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "peerd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want a command: root, engine, trace, install, ready or status")
	}
	switch command, args := args[0], args[1:]; command {
	case "root":
		return runRoot(ctx, args)
	case "engine":
		return runEngine(ctx, args)
	case "trace":
		return runTrace(ctx, args)
	case "install":
		return runInstall(ctx, args)
	case "ready":
		return runReady(ctx, args)
	case "status":
		return runStatus(ctx, args, out)
	default:
		return fmt.Errorf("unknown command %q; want root, engine, trace, install, ready or status", command)
	}
}

// runRoot gathers the root server's config and tells init how it went.
func runRoot(ctx context.Context, args []string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	flags := flag.NewFlagSet("peerd root", flag.ContinueOnError)
	var (
		description = flags.String("description", "", "boot description `file` (JSON), verified by init")
		keys        = flags.String("keys", "", "`folder` of public keys that may sign the manifest")
		dir         = flags.String("dir", "", "`folder` in memory for the image file and the FUSE mount")
		loop        = flags.String("loop", "", "loop `device` to configure")
		server      = flags.String("server", "", "`URL` of the boot server that takes stage reports")
		readyFD     = flags.Int("ready-fd", 3, "`file descriptor` for \"ready\" or \"failed: REASON\"")
		listen      = flags.String("listen", "0.0.0.0:6881", "`address:port` where peers connect")
		prefetch    = flags.Bool("prefetch", false, "be ready only when the image is complete and handed over")
		logTo       = flags.String("log", "kmsg", "kmsg or stderr")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	syscall.CloseOnExec(*readyFD)
	parent := os.NewFile(uintptr(*readyFD), "ready")
	err := func() error {
		log, err := openLog(*logTo)
		if err != nil {
			return err
		}
		cfg := peerd.RootConfig{
			Dir:          *dir,
			Prefetch:     *prefetch,
			LoopDevice:   *loop,
			Server:       *server,
			Engine:       []string{"@peerd", "peerd", "engine", "--log", *logTo},
			Installer:    []string{"@peerd", "peerd", "install", "--description", *description, "--server", *server},
			ReadyFile:    "/proc/1/root" + stage.ReadyFile,
			StatusSocket: peerd.StatusSocket,
			Log:          log,
		}
		if cfg.Listen, err = netip.ParseAddrPort(*listen); err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		cfg.ListenBoot = netip.AddrPortFrom(cfg.Listen.Addr(), bootargs.BootPort)
		if cfg.Trusted, err = envelope.ReadTrusted(*keys); err != nil {
			return err
		}
		payload, err := os.ReadFile(*description)
		if err != nil {
			return fmt.Errorf("read the boot description: %w", err)
		}
		if cfg.Description, err = bootargs.ParseDescription(payload); err != nil {
			return fmt.Errorf("boot description %s: %w", *description, err)
		}
		if err := peerd.RootRole.Harden(); err != nil {
			log.Warn("the root server is not as safe as it should be", "err", err)
		}
		cfg.Progress = func(p stage.Progress) error {
			_, err := fmt.Fprintln(parent, p.Line())
			return err
		}
		return peerd.RunRoot(ctx, cfg, func() { fmt.Fprintln(parent, "ready") })
	}()
	if err != nil {
		fmt.Fprintln(parent, "failed:", strings.Join(strings.Fields(err.Error()), " "))
	}
	return err
}

// runEngine finds what the root server has left open for it.
func runEngine(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("peerd engine", flag.ContinueOnError)
	logTo := flags.String("log", "kmsg", "kmsg or stderr")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log, err := openLog(*logTo)
	if err != nil {
		return err
	}
	if err := peerd.EngineRole.Harden(); err != nil {
		log.Warn("the swarm engine is not as safe as it should be", "err", err)
	}
	link := os.NewFile(3, "link")
	conn, err := net.FileConn(link)
	link.Close() // conn has a copy
	if err != nil {
		return fmt.Errorf("the link to the root server, which alone starts an engine: %w", err)
	}
	image := os.NewFile(4, "image")
	syscall.CloseOnExec(4)
	defer image.Close()
	return peerd.RunEngine(ctx, conn, image, log)
}

func runStatus(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("peerd status", flag.ContinueOnError)
	format := flags.String("o", "text", "output: text or json")
	if err := flags.Parse(args); err != nil {
		return err
	}
	status, err := peerd.AskStatus(ctx, peerd.StatusSocket)
	if err != nil {
		return err
	}
	switch *format {
	case "text":
		return printStatus(out, status)
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(status)
	default:
		return fmt.Errorf("-o %s: want text or json", *format)
	}
}

func printStatus(out io.Writer, s peerd.Status) error {
	p := s.Progress
	_, err := fmt.Fprintf(out, `machine      %s
image        %s
stage        %s
pieces       %d of %d, %d touched, %d of %d hot
waiting      %d reads
peers        %d
from peers   %d bytes
from server  %d bytes
given        %d bytes
rejected     %d pieces
root server  pid %d, %d KiB
engine       pid %d, %d KiB, started again %d times
`, s.Machine, s.Image, s.Stage, p.Have, p.Pieces, p.TouchedHave, p.HotHave, p.Hot, p.Waiting, p.Peers,
		p.FromPeers, p.FromServer, p.Uploaded, p.Rejected, s.PID, p.ServerRSS>>10, s.Engine, p.EngineRSS>>10, p.Restarts)
	return err
}

// openLog returns the log that --log names.
func openLog(where string) (*slog.Logger, error) {
	switch where {
	case "stderr":
		return slog.New(slog.NewTextHandler(os.Stderr, nil)), nil
	case "kmsg":
		// The kernel's log never makes a writer wait, as a console may, and is
		// on no file system.
		f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("open the log: %w; use --log stderr", err)
		}
		return slog.New(slog.NewTextHandler(kmsg{f}, &slog.HandlerOptions{
			Level: slog.LevelWarn,
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey && len(groups) == 0 {
					return slog.Attr{} // the kernel has its own clock
				}
				return a
			},
		})), nil
	default:
		return nil, fmt.Errorf("--log %s: want kmsg or stderr", where)
	}
}

// kmsg makes each line a warning of the kernel's log. A record there is what
// one write brings, and at most about a thousand bytes.
type kmsg struct{ f *os.File }

func (k kmsg) Write(line []byte) (int, error) {
	const prefix, longest = "<4>peerd: ", 900
	if _, err := k.f.Write(append([]byte(prefix), line[:min(len(line), longest)]...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
