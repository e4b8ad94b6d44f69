package initramfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage"
	"github.com/u-root/uio/llog"
)

// commands become one program. commands.go keeps those of u-root in go.mod.
var commands = []string{
	"swarmboot/initramfs/cmd/init",
	"swarmboot/peerd/cmd/peerd",
	"github.com/u-root/u-root/cmds/core/cat",
	"github.com/u-root/u-root/cmds/core/dmesg",
	"github.com/u-root/u-root/cmds/core/gosh",
	"github.com/u-root/u-root/cmds/core/ip",
	"github.com/u-root/u-root/cmds/core/ls",
	"github.com/u-root/u-root/cmds/core/mount",
	"github.com/u-root/u-root/cmds/core/ps",
}

// required is what no machine boots or is rescued without.
var required = []string{"init", "bbin/bb", "bbin/init", "bbin/peerd", "bbin/gosh"}

// maxSize bounds the compressed archive. Every machine of a rack fetches it from
// the boot server at once, before there is a swarm.
const maxSize = 8 << 20

// Options say what Build makes.
type Options struct {
	Output string // the file to write, when all has gone well
	Arch   string // GOARCH of the machines; empty: amd64
}

// Sizes are those of an archive in bytes.
type Sizes struct{ Raw, Compressed int64 }

// Build makes the common archive, compressed with zstd, from the module that
// the current folder is in. It needs the go command and the module's
// dependencies, nothing else. The build itself cannot be interrupted: ctx is
// looked at between its steps.
func Build(ctx context.Context, o Options) (Sizes, error) {
	tmp, err := os.MkdirTemp("", "swarmboot-initramfs-")
	if err != nil {
		return Sizes{}, fmt.Errorf("build initramfs: %w", err)
	}
	defer os.RemoveAll(tmp)
	raw := filepath.Join(tmp, "initramfs.cpio")
	if err := makeArchive(raw, tmp, cmp.Or(o.Arch, "amd64")); err != nil {
		return Sizes{}, fmt.Errorf("build initramfs: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return Sizes{}, fmt.Errorf("build initramfs: %w", err)
	}
	return pack(raw, o.Output)
}

func makeArchive(raw, tmp, arch string) error {
	quiet := llog.New(slog.LevelWarn, llog.WritePrintf(os.Stderr))
	return uimage.Create(quiet,
		// goshsmall: the shell without completion, which would bring a terminal library.
		uimage.WithReplaceEnv(golang.Default(golang.DisableCGO(), golang.WithGOARCH(arch), golang.WithBuildTag("goshsmall"))),
		uimage.WithBaseArchive(uimage.DefaultRamfs()),
		uimage.WithCPIOOutput(raw),
		uimage.WithTempDir(tmp),
		uimage.WithInit("init"),
		uimage.WithSkipLDD(), // all is linked statically
		// Without inlining it would be a seventh smaller, and peerd would need a
		// quarter more CPU time in a boot.
		uimage.WithCommands(&golang.BuildOpts{EnableInlining: true}, busybox{}, commands...),
	)
}

// pack checks the archive raw and compresses it to output, which it replaces
// only when all has gone well.
func pack(raw, output string) (Sizes, error) {
	in, err := os.Open(raw)
	if err != nil {
		return Sizes{}, fmt.Errorf("pack initramfs: %w", err)
	}
	defer in.Close()
	if err := check(in); err != nil {
		return Sizes{}, fmt.Errorf("pack initramfs: %w", err)
	}
	out, err := os.CreateTemp(filepath.Dir(output), "."+filepath.Base(output)+"-")
	if err != nil {
		return Sizes{}, fmt.Errorf("pack initramfs: %w", err)
	}
	defer os.Remove(out.Name()) // gone already when all has gone well
	defer out.Close()
	sizes, err := compress(out, in)
	if err == nil && sizes.Compressed > maxSize {
		err = fmt.Errorf("%d bytes compressed; at most %d are sent to every machine", sizes.Compressed, maxSize)
	}
	if err == nil {
		err = errors.Join(out.Chmod(0o644), out.Sync(), out.Close())
	}
	if err == nil {
		err = os.Rename(out.Name(), output)
	}
	if err != nil {
		return Sizes{}, fmt.Errorf("pack initramfs: %w", err)
	}
	return sizes, nil
}

// check reads an archive through and finds what must be in it.
func check(archive io.ReaderAt) error {
	format, err := cpio.Format(newc)
	if err != nil {
		return err
	}
	found := map[string]bool{}
	if err := cpio.ForEachRecord(format.Reader(archive), func(r cpio.Record) error {
		found[r.Name] = true
		return nil
	}); err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	var errs []error
	for _, name := range required {
		if !found[name] {
			errs = append(errs, fmt.Errorf("%s is not in it", name))
		}
	}
	return errors.Join(errs...)
}

// window is how far back a match may lie: the whole archive. The kernel keeps as
// much memory while it unpacks, and takes up to 128 MiB.
const window = 32 << 20

func compress(out io.Writer, in io.ReadSeeker) (Sizes, error) {
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return Sizes{}, err
	}
	counted := &counter{w: out}
	z, err := zstd.NewWriter(counted, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(window))
	if err != nil {
		return Sizes{}, err
	}
	n, err := io.Copy(z, in)
	if err := errors.Join(err, z.Close()); err != nil {
		return Sizes{}, fmt.Errorf("compress: %w", err)
	}
	if _, err := counted.Write(make([]byte, -counted.n&(Align-1))); err != nil { // a segment may follow at once
		return Sizes{}, err
	}
	return Sizes{Raw: n, Compressed: counted.n}, nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
