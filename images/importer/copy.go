package importer

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"swarmboot/images/internal/tool"
)

// Dir copies a folder. File systems mounted below it are not part of it.
func Dir(ctx context.Context, j Job) error {
	if info, err := os.Stat(j.Place); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", j.Place)
	}
	return copyTree(ctx, j, j.Place, j.Root)
}

// copyTree copies what is in from into the folder to, with all that Linux knows
// of a file.
func copyTree(ctx context.Context, j Job, from, to string) error {
	if err := tool.Need(tool.Cp); err != nil {
		return err
	}
	return tool.Run(j.Log, exec.CommandContext(ctx, "cp",
		"--archive", "--one-file-system", "--sparse=always", "--reflink=auto", "--no-target-directory", "--", from, to), nil)
}

// Squashfs unpacks a squashfs file.
func Squashfs(ctx context.Context, j Job) error {
	if err := tool.Need(tool.Unsquashfs); err != nil {
		return err
	}
	if _, err := os.Stat(j.Place); err != nil {
		return err
	}
	return tool.Run(j.Log, exec.CommandContext(ctx, "unsquashfs",
		"-force", "-strict-errors", "-no-progress", "-dest", j.Root, j.Place), nil)
}
