package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"swarmboot/initramfs/stage"
)

// consoles are where people look: every console of the kernel (a screen and a
// serial line are both in use in a rack), and the kernel log, which the running
// system keeps. A screen has a panel (panel.go) that tells how far the boot is. A
// serial line, which is slow and often recorded, gets plain lines, and few.
type consoles struct {
	kmsg io.Writer

	mu       sync.Mutex
	lines    []io.WriteCloser // guarded by mu, like all below
	displays []display
	panel    panel
	given    bool      // they belong to somebody else: a shell, or the image's init
	changed  time.Time // when panel.got has last grown, or was whole
	told     time.Time // when the lines were last told of it
}

// openConsoles never fails; what is missing is left out.
func openConsoles() *consoles {
	c := &consoles{kmsg: io.Discard}
	c.open()
	// By default the kernel drops what comes faster than ten lines in five seconds.
	_ = os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		c.kmsg = f
	}
	return c
}

// screenName is that of a terminal on the machine's own display: tty0, but not
// ttyS0.
var screenName = regexp.MustCompile(`^tty[0-9]+$`)

func (c *consoles) open() {
	c.lines, c.displays, c.given = nil, nil, false
	active, _ := os.ReadFile("/sys/class/tty/console/active")
	for _, tty := range strings.Fields(string(active)) {
		f, err := os.OpenFile("/dev/"+tty, os.O_WRONLY|syscall.O_NOCTTY, 0)
		switch {
		case err != nil:
		case screenName.MatchString(tty):
			d := openDisplay(f)
			d.begin()
			c.displays = append(c.displays, d)
		default:
			c.lines = append(c.lines, f)
		}
	}
	if len(c.lines)+len(c.displays) == 0 {
		c.lines = append(c.lines, os.Stdout) // the kernel's choice for us
	}
}

// Say writes one line of progress.
func (c *consoles) Say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.lines)
	for _, d := range c.displays {
		all = append(all, d.out)
	}
	c.say(all, format, args...)
}

// say writes a line to some of the consoles, and to the kernel log.
func (c *consoles) say(to []io.WriteCloser, format string, args ...any) {
	line := "swarmboot: " + fmt.Sprintf(format, args...) + "\n"
	for _, one := range to {
		_, _ = io.WriteString(one, line)
	}
	_, _ = io.WriteString(c.kmsg, "<7>"+line) // debug: the consoles have it already
}

// Show changes the panel.
func (c *consoles) Show(change func(*panel)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.panel)
	c.draw()
}

func (c *consoles) draw() {
	if c.given {
		return
	}
	for _, d := range c.displays {
		d.draw(c.panel)
	}
}

// tellEvery is how often serial lines are told how much of the image has come.
const tellEvery = 10 * time.Second

// Progress shows how much of the image has come. peerd tells once a second.
func (c *consoles) Progress(p stage.Progress, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.panel.got == nil || c.panel.got.Have != p.Have || p.Have == p.Pieces {
		c.changed = now
	}
	c.panel.got, c.panel.silent = &p, now.Sub(c.changed)
	c.draw()
	if !c.given && now.Sub(c.told) >= tellEvery {
		c.told = now
		c.say(c.lines, "pieces: %s; %s", pieces(p), sources(p, c.panel.silent))
	}
}

// HandOver leaves the consoles to the image's init, or to a shell.
func (c *consoles) HandOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = true
	for _, d := range c.displays {
		d.end()
	}
}

// Banner writes a failure so that it is seen from across the aisle.
func (c *consoles) Banner(r stage.Report, next string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		_, _ = io.WriteString(l, banner(r, next))
	}
	c.given = false // the image's init has not taken them
	c.panel.wrong, c.panel.next, c.panel.got = fmt.Sprintf("at %s: %s", r.At, r.Reason), next, nil
	c.draw()
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
	c.HandOver()
	if err := shell(); err != nil {
		c.Say("the shell ended: %v", err)
		time.Sleep(time.Second) // where no shell can run, this is still no busy loop
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The end of a session hangs its terminal up, also for us.
	for _, l := range c.lines {
		if l != os.Stdout {
			l.Close()
		}
	}
	for _, d := range c.displays {
		d.out.Close()
	}
	c.open()
	c.draw()
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
