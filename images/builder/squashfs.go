package builder

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"swarmboot/images/internal/tool"
)

// cold are folders that a boot reads little or nothing of, as patterns of
// mksquashfs. Their files go to the end of the image: what a boot reads then
// stands closer together, in fewer pieces.
var cold = []string{
	"boot", "usr/include", "usr/lib/modules", "usr/share", "var",
	"usr/lib/*-linux-gnu/gconv", "usr/lib/*-linux-gnu/perl*", "usr/lib/firmware", "usr/lib/python3*", "usr/src",
}

// mksquashfs draws "[====/   ]  500/5784   8%"; the numbers are blocks.
var progressBar = regexp.MustCompile(`\] +(\d+)/(\d+) +\d+%`)

// makeSquashfs packs the tree at root into the file out. The same tree and epoch
// give the same file: what was changed after the epoch, in seconds, counts as
// changed then. The hot files come first, in their order.
func makeSquashfs(ctx context.Context, log *slog.Logger, root, out string, hot []string, epoch int64, progress func(done, total int64)) error {
	progress(0, 0)
	order := out + ".order"
	if err := writeOrder(order, root, hot); err != nil {
		return fmt.Errorf("order of files: %w", err)
	}
	defer os.Remove(order)
	cmd := exec.CommandContext(ctx, "mksquashfs", root, out,
		"-comp", "zstd", // compresses 3 times, and every kernel since 4.14 reads it
		"-b", "128K", // fewest bytes read until a machine is up, of 128K, 256K and 1M
		"-sort", order,
		"-noappend", "-no-recovery") // the file is new, and nobody continues a broken one
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch))
	return tool.RunOnTerminal(log, cmd, func(line string) (bar bool) {
		m := progressBar.FindStringSubmatch(line)
		if m == nil {
			return false
		}
		done, _ := strconv.ParseInt(m[1], 10, 64)
		total, _ := strconv.ParseInt(m[2], 10, 64)
		progress(done, total)
		return true
	})
}

// writeOrder writes a sort file of mksquashfs: files have priority 0, those with
// more come sooner, those with less later.
func writeOrder(name, dir string, hot []string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var lines strings.Builder
	write := func(name string, priority int) {
		// It has no way to write a name with a newline, and reads \ as the begin
		// of an escape.
		if !strings.Contains(name, "\n") {
			fmt.Fprintf(&lines, "%s %d\n", strings.NewReplacer(`\`, `\\`, " ", `\ `).Replace(name), priority)
		}
	}
	priority := 32767 // the highest
	for _, name := range hot {
		name = strings.TrimPrefix(name, "/")
		// What a boot has written itself, or another version had, isn't there.
		if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() || priority == 0 {
			continue
		}
		write(name, priority)
		priority--
	}
	for _, pattern := range cold {
		folders, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return err
		}
		for _, folder := range folders {
			write(folder, -1)
		}
	}
	return os.WriteFile(name, []byte(lines.String()), 0o600)
}
