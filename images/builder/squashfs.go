package builder

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
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
// changed then.
func makeSquashfs(ctx context.Context, log *slog.Logger, root, out string, epoch int64, progress func(done, total int64)) error {
	progress(0, 0)
	order := out + ".order"
	if err := writeOrder(order, root); err != nil {
		return fmt.Errorf("order of files: %w", err)
	}
	defer os.Remove(order)
	cmd := exec.CommandContext(ctx, "mksquashfs", root, out,
		"-comp", "zstd", // compresses 3 times, and every kernel since 4.14 reads it
		"-b", "128K", // fewest bytes read until a machine is up, of 128K, 256K and 1M
		"-sort", order,
		"-noappend", "-no-recovery", // the file is new, and nobody continues a broken one
		"-progress") // even though its output is not a terminal
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch))
	return tool.Run(log, cmd, func(line string) {
		if m := progressBar.FindStringSubmatch(line); m != nil {
			done, _ := strconv.ParseInt(m[1], 10, 64)
			total, _ := strconv.ParseInt(m[2], 10, 64)
			progress(done, total)
		}
	})
}

// writeOrder writes a sort file of mksquashfs: files have priority 0, those with
// less come later.
func writeOrder(name, root string) error {
	var lines strings.Builder
	for _, pattern := range cold {
		folders, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, folder := range folders {
			relative, err := filepath.Rel(root, folder)
			if err != nil {
				return err
			}
			fmt.Fprintf(&lines, "%s -1\n", relative)
		}
	}
	return os.WriteFile(name, []byte(lines.String()), 0o600)
}
