package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A Service is a program that runs inside a LAN until it is stopped: a boot
// server. It ends with the LAN at the latest, but not with who has started it.
type Service struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // how; to be read after ended
}

// Serve starts a program inside the LAN and returns when answers has no error
// any more. What the program says is added to the file log.
func (l *LAN) Serve(ctx context.Context, answers func(context.Context) error, log, program string, args ...string) (*Service, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	defer out.Close()
	s := &Service{cmd: l.Command(context.Background(), program, args...), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal of the lab
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	for tick := time.Tick(50 * time.Millisecond); answers(ctx) != nil; {
		select {
		case <-tick:
		case <-s.ended:
			return nil, fmt.Errorf("%s has ended (%v); its last words:\n%s", program, s.err, LogTail(log, 20))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return s, nil
}

// PID is the program's process.
func (s *Service) PID() int { return s.cmd.Process.Pid }

// Signal sends a signal.
func (s *Service) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// Wait returns how the program has ended.
func (s *Service) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", s.cmd.Path, context.Cause(ctx))
	}
}
