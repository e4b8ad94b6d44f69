// Package tool runs the programs that making an image takes.
//
// importer and builder are its callers.
package tool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
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

// Run waits for cmd. Each line that it prints goes to the log; if cmd fails, the
// error ends with the last of them. If it fails because a disk is full, the error
// is syscall.ENOSPC. A line for which onLine, unless nil, returns true only draws
// how far cmd is: nobody else is told of it.
func Run(log *slog.Logger, cmd *exec.Cmd, onLine func(string) (drawn bool)) error {
	out := newLines(log, cmd, onLine)
	cmd.Stdout, cmd.Stderr = out, out
	return out.explain(run(cmd))
}

// RunOnTerminal is Run for a program that tells how far it is only to a terminal:
// its standard output is one.
func RunOnTerminal(log *slog.Logger, cmd *exec.Cmd, onLine func(string) (drawn bool)) error {
	ours, theirs, err := pty.Open()
	if err == nil {
		err = pty.Setsize(theirs, &pty.Winsize{Rows: 25, Cols: 80})
	}
	if err != nil { // as in a container without /dev/pts
		return Run(log, cmd, onLine)
	}
	defer ours.Close()
	out, ended := newLines(log, cmd, onLine), make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(out, ours) // fails when nobody has the other end any more
	}()
	cmd.Stdout, cmd.Stderr = theirs, theirs
	err = run(cmd)
	theirs.Close()
	<-ended
	return out.explain(err)
}

func run(cmd *exec.Cmd) error {
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8") // we read what it prints
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // no tool outlives a killed build
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// lines splits what is written to it into lines, which end in a newline or, as
// progress bars do, a carriage return, and keeps the last ones.
type lines struct {
	program string
	each    func(string) (drawn bool)
	last    []string
	full    bool // one of them says that a disk is
	partial []byte
}

const lastWords = 15

// noSpace is ENOSPC as programs word it.
const noSpace = "No space left on device"

func newLines(log *slog.Logger, cmd *exec.Cmd, onLine func(string) (drawn bool)) *lines {
	program := cmd.Args[0]
	return &lines{program: program, each: func(line string) bool {
		if onLine != nil && onLine(line) {
			return true
		}
		log.Debug("tool says", "tool", program, "line", line)
		return false
	}}
}

// explain tells why the program failed, if it did.
func (l *lines) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case l.full:
		return fmt.Errorf("%s: %w", l.program, syscall.ENOSPC)
	}
	return fmt.Errorf("%s: %w; its last words:\n%s", l.program, err, strings.Join(l.last, "\n"))
}

func (l *lines) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		end := bytes.IndexAny(l.partial, "\r\n")
		if end < 0 {
			return len(p), nil
		}
		line := strings.TrimSpace(string(l.partial[:end]))
		l.partial = l.partial[end+1:]
		if line == "" || l.each(line) {
			continue
		}
		l.full = l.full || strings.Contains(line, noSpace)
		if l.last = append(l.last, line); len(l.last) > lastWords {
			l.last = l.last[1:]
		}
	}
}
