package builder

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// tools are the programs a build starts, with the packages they come in.
var tools = []struct{ program, pkg string }{
	{"mmdebstrap", "mmdebstrap"},
	{"dpkg-deb", "dpkg"},
	{"depmod", "kmod"},
	{"mksquashfs", "squashfs-tools"},
}

// findTools names every missing tool at once.
func findTools() error {
	var errs []error
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			errs = append(errs, fmt.Errorf("%s is missing: apt install %s", t.program, t.pkg))
		}
	}
	return errors.Join(errs...)
}

// run waits for cmd. Each line that it prints goes to the log and, unless nil,
// to onLine; if cmd fails, the error ends with the last of them.
func run(log *slog.Logger, cmd *exec.Cmd, onLine func(string)) error {
	out := &lines{each: func(line string) {
		log.Debug("tool says", "tool", cmd.Args[0], "line", line)
		if onLine != nil {
			onLine(line)
		}
	}}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // we read what it prints
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
