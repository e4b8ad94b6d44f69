package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"swarmboot/initramfs/stage"
)

// A terminal keeps what is written to it.
type terminal struct{ bytes.Buffer }

func (*terminal) Close() error { return nil }

// twoConsoles are a serial line and a screen of 25 rows.
func twoConsoles() (c *consoles, serial, screen *terminal) {
	serial, screen = new(terminal), new(terminal)
	c = &consoles{kmsg: io.Discard, lines: []io.WriteCloser{serial}, displays: []display{{screen, 25, 80}}}
	return c, serial, screen
}

func TestPanel(t *testing.T) {
	got := &stage.Progress{Pieces: 389, Have: 130, Hot: 69, HotHave: 60, Peers: 5, FromPeers: 30e6, FromServer: 1.5e6}
	for _, c := range []struct {
		panel panel
		want  []string // lines
	}{
		{panel{}, []string{" SWARMBOOT   starting", " pieces    -"}},
		{panel{machine: "r1-n07 52:54:00:77:00:07", image: "lab@1 from http://10.77.0.1", network: "eth0 10.77.0.11/24", at: stage.Root, got: got}, []string{
			" SWARMBOOT   r1-n07 52:54:00:77:00:07", " image     lab@1 from http://10.77.0.1", " network   eth0 10.77.0.11/24",
			" stage     init - network - swarm - [root] - switch-root",
			" pieces    [######..............] 130 of 389, 60 of the 69 that a boot reads",
			" from      5 peers; 30.0 MB from machines, 1.5 MB from server"}},
		{panel{got: got, silent: time.Minute}, []string{" from      5 peers; 30.0 MB from machines, 1.5 MB from server; NOTHING for 1m0s"}},
		{panel{at: stage.Swarm, wrong: "at swarm: " + strings.Repeat("no such machine ", 20), next: "trying again in 4s"}, []string{
			" stage     init - network - [swarm] - root - switch-root",
			" wrong     at swarm: no such machine no such machine no such machine no such",
			"           machine no such machine no such machine no such machine no such"}},
		{panel{at: stage.Init, wrong: "at swarm: no such machine"}, []string{" before    at swarm: no such machine"}},
	} {
		lines := c.panel.lines(80)
		text := "\n" + strings.Join(lines, "\n") + "\n"
		if len(lines) != panelHeight {
			t.Errorf("%d lines; want %d:%s", len(lines), panelHeight, text)
		}
		for _, want := range c.want {
			if !strings.Contains(text, "\n"+want+"\n") {
				t.Errorf("the panel is%swant the line %q", text, want)
			}
		}
		for _, line := range lines {
			if len(line) > 80 {
				t.Errorf("%q has %d letters", line, len(line))
			}
		}
	}
}

// TestConsolesAreCalm follows a minute in which the image arrives: what goes over
// a serial line is little and plain, and a screen shows each second.
func TestConsolesAreCalm(t *testing.T) {
	c, serial, screen := twoConsoles()
	begun := time.Unix(1e9, 0)
	for second := range 60 {
		c.Progress(stage.Progress{Pieces: 100, Have: min(second, 30)}, begun.Add(time.Duration(second)*time.Second))
	}
	if n := strings.Count(serial.String(), "\n"); n != 6 || strings.Contains(serial.String(), "\x1b") {
		t.Errorf("the serial line got %d lines; want 6, without escapes:\n%s", n, serial)
	}
	if last := "pieces: 30 of 100; 0 peers; 0.0 MB from machines, 0.0 MB from server; NOTHING for 20s\n"; !strings.HasSuffix(serial.String(), last) {
		t.Errorf("the serial line says\n%swant %q at the end", serial, last)
	}
	c.Progress(stage.Progress{Pieces: 30, Have: 30}, begun.Add(time.Hour))
	if strings.Count(serial.String(), "NOTHING") != 2 {
		t.Errorf("an image that is here is waited for:\n%s", serial)
	}
	if n := strings.Count(screen.String(), "SWARMBOOT"); n != 61 {
		t.Errorf("the screen was drawn %d times; want once each second, and once more", n)
	}
}

// TestFailureStays checks that a screen goes on to tell why the last attempt has
// failed, and that it is left alone once it is the image's.
func TestFailureStays(t *testing.T) {
	c, serial, screen := twoConsoles()
	c.Banner(stage.Report{Stage: stage.Failed, At: stage.Swarm, Reason: "no such machine"}, "trying again in 4s")
	if !strings.Contains(screen.String(), "at swarm: no such machine; trying again in 4s") || !strings.Contains(serial.String(), "CANNOT BOOT") {
		t.Errorf("the screen says %q, the serial line %q", screen, serial)
	}
	screen.Reset()
	b := &boot{console: c}
	b.enter(stage.Network)
	if !strings.Contains(screen.String(), " before    at swarm: no such machine") || strings.Contains(screen.String(), "trying again") {
		t.Errorf("during the next attempt the screen says %q", screen)
	}
	c.HandOver()
	screen.Reset()
	c.Progress(stage.Progress{Pieces: 1}, time.Now())
	if screen.Len() > 0 {
		t.Errorf("written over the image's init: %q", screen)
	}
}
