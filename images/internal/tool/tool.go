// Package tool runs the programs that making an image takes.
//
// importer and builder are its callers.
package tool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Tool is a program, with the package that brings it.
type Tool struct{ Program, Package string }

// The tools that making an image takes, some only for some sources.
var (
	Mmdebstrap = Tool{"mmdebstrap", "mmdebstrap"}
	DpkgDeb    = Tool{"dpkg-deb", "dpkg"}
	Depmod     = Tool{"depmod", "kmod"}
	Mksquashfs = Tool{"mksquashfs", "squashfs-tools"}
	Unsquashfs = Tool{"unsquashfs", "squashfs-tools"}
	Cp         = Tool{"cp", "coreutils"}
	Mount      = Tool{"mount", "mount"}
	QemuImg    = Tool{"qemu-img", "qemu-utils"}
	Sfdisk     = Tool{"sfdisk", "fdisk"}
)

// Need names every missing tool at once.
func Need(tools ...Tool) error {
	var errs []error
	for _, t := range tools {
		if _, err := exec.LookPath(t.Program); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing: apt install %s", t.Program, t.Package))
		}
	}
	return errors.Join(errs...)
}

// Run waits for cmd. Each line that it prints goes to the log and, unless nil,
// to onLine; if cmd fails, the error ends with the last of them.
func Run(log *slog.Logger, cmd *exec.Cmd, onLine func(string)) error {
	out := &lines{each: func(line string) {
		log.Debug("tool says", "tool", cmd.Args[0], "line", line)
		if onLine != nil {
			onLine(line)
		}
	}}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8") // we read what it prints
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // no tool outlives a killed build
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w; its last words:\n%s", cmd.Args[0], err, strings.Join(out.last, "\n"))
	}
	return nil
}

// lines splits what is written to it into lines, which end in a newline or, as
// progress bars do, a carriage return, and keeps the last ones.
type lines struct {
	each    func(string)
	last    []string
	partial []byte
}

const lastWords = 15

func (l *lines) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		end := bytes.IndexAny(l.partial, "\r\n")
		if end < 0 {
			return len(p), nil
		}
		line := strings.TrimSpace(string(l.partial[:end]))
		l.partial = l.partial[end+1:]
		if line == "" {
			continue
		}
		l.each(line)
		if l.last = append(l.last, line); len(l.last) > lastWords {
			l.last = l.last[1:]
		}
	}
}
