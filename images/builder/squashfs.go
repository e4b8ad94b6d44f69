package builder

import (
	"context"
	"log/slog"
	"os/exec"
	"regexp"
	"strconv"
)

// mksquashfs draws "[====/   ]  500/5784   8%"; the numbers are blocks.
var progressBar = regexp.MustCompile(`\] +(\d+)/(\d+) +\d+%`)

// makeSquashfs packs the tree at root into the file out. The same tree gives
// the same file if SOURCE_DATE_EPOCH is set, which mksquashfs obeys.
func makeSquashfs(ctx context.Context, log *slog.Logger, root, out string, progress func(done, total int64)) error {
	progress(0, 0)
	cmd := exec.CommandContext(ctx, "mksquashfs", root, out,
		"-comp", "zstd", // compresses 3 times, and every kernel since 4.14 reads it
		"-b", "128K", // fewest bytes read until a machine is up, of 128K, 256K and 1M
		"-noappend", "-no-recovery", // the file is new, and nobody continues a broken one
		"-progress") // even though its output is not a terminal
	return run(log, cmd, func(line string) {
		if m := progressBar.FindStringSubmatch(line); m != nil {
			done, _ := strconv.ParseInt(m[1], 10, 64)
			total, _ := strconv.ParseInt(m[2], 10, 64)
			progress(done, total)
		}
	})
}
