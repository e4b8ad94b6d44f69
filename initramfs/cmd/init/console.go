package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"swarmboot/initramfs/stage"
)

// consoles are where people look: every console of the kernel (a screen and a
// serial line are both in use in a rack), and the kernel log, which the running
// system keeps.
type consoles struct {
	screens []io.WriteCloser
	kmsg    io.Writer
}

// openConsoles never fails; what is missing is left out.
func openConsoles() *consoles {
	c := &consoles{screens: openScreens(), kmsg: io.Discard}
	// By default the kernel drops what comes faster than ten lines in five seconds.
	_ = os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		c.kmsg = f
	}
	return c
}

func openScreens() []io.WriteCloser {
	var screens []io.WriteCloser
	active, _ := os.ReadFile("/sys/class/tty/console/active")
	for _, tty := range strings.Fields(string(active)) {
		if f, err := os.OpenFile("/dev/"+tty, os.O_WRONLY|syscall.O_NOCTTY, 0); err == nil {
			screens = append(screens, f)
		}
	}
	if len(screens) == 0 {
		screens = append(screens, os.Stdout) // the kernel's choice for us
	}
	return screens
}

// Say writes one line of progress.
func (c *consoles) Say(format string, args ...any) {
	line := "swarmboot: " + fmt.Sprintf(format, args...) + "\n"
	for _, s := range c.screens {
		_, _ = io.WriteString(s, line)
	}
	_, _ = io.WriteString(c.kmsg, "<7>"+line) // debug: the screens have it already
}

// Banner writes a failure so that it is seen from across the aisle.
func (c *consoles) Banner(r stage.Report, next string) {
	for _, s := range c.screens {
		_, _ = io.WriteString(s, banner(r, next))
	}
	_, _ = fmt.Fprintf(c.kmsg, "<7>swarmboot: failed at %s: %s\n", r.At, strings.ReplaceAll(r.Reason, "\n", "; "))
}

func banner(r stage.Report, next string) string {
	const rule = "######################################################################\n"
	var b strings.Builder
	b.WriteString("\n" + rule + "##  SWARMBOOT: THIS MACHINE CANNOT BOOT\n##\n")
	for _, row := range [][2]string{{"stage", string(r.At)}, {"reason", r.Reason}, {"machine", r.Machine}, {"image", r.Image}, {"next", next}} {
		name := row[0] + ":"
		for line := range strings.Lines(row[1]) {
			fmt.Fprintf(&b, "##  %-9s%s\n", name, strings.TrimRight(line, "\n"))
			name = ""
		}
	}
	b.WriteString(rule)
	return b.String()
}

// Shell gives the console to a shell until it ends.
func (c *consoles) Shell() {
	c.Say("this is a shell; leave it with exit, and the boot is tried again")
	if err := shell(); err != nil {
		c.Say("the shell ended: %v", err)
		time.Sleep(time.Second) // where no shell can run, this is still no busy loop
	}
	// The end of a session hangs its terminal up, also for us.
	for _, s := range c.screens {
		if s != os.Stdout {
			s.Close()
		}
	}
	c.screens = openScreens()
}

func shell() error {
	tty, err := os.OpenFile("/dev/console", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	sh := exec.Cmd{
		Path: busybox, Args: []string{"gosh"}, Dir: "/", Env: append(os.Environ(), "PATH=/bbin:/bin"),
		Stdin: tty, Stdout: tty, Stderr: tty,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true},
	}
	return sh.Run()
}
