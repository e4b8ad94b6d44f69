package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A display is a screen of the machine, whose upper part the panel has. Below
// it scrolls what init and the kernel say.
type display struct {
	out           io.WriteCloser
	rows, columns int
}

// openDisplay asks the terminal how large it is.
func openDisplay(f *os.File) display {
	d := display{out: f, rows: 25, columns: 80}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 && size.Col > 0 {
		d.rows, d.columns = int(size.Row), int(size.Col)
	}
	return d
}

// What the Linux console obeys: console_codes(4).
const (
	clearAll   = "\x1b[2J"
	clearRight = "\x1b[K"
	save       = "\x1b7"
	restore    = "\x1b8"
	calmColour = "\x1b[7m"
	badColour  = "\x1b[1;37;41m"
	noColour   = "\x1b[0m"
)

// small tells whether the panel would leave no room.
func (d display) small() bool { return d.rows < panelHeight+3 }

// begin clears the screen and leaves the cursor below where the panel comes.
func (d display) begin() {
	if d.small() {
		return
	}
	fmt.Fprintf(d.out, "%s\x1b[%d;%dr\x1b[%d;1H", clearAll, panelHeight+1, d.rows, panelHeight+1)
}

// draw writes the panel in one piece, so that no word of the kernel's comes in
// between; for the same reason without line ends, which terminals write out one
// by one. The rows that scroll are set each time: another driver may have taken
// the screen over.
func (d display) draw(p panel) {
	if d.small() {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x1b[%d;%dr", save, panelHeight+1, d.rows)
	width := min(d.columns, 100)
	for i, line := range p.lines(width) {
		colour := ""
		switch {
		case i == 0 && p.wrong != "" && p.next != "":
			colour = badColour
		case i == 0:
			colour = calmColour
		}
		if i == 0 { // a bar as wide as the panel
			line = fmt.Sprintf("%-*s", width, line)
		}
		fmt.Fprintf(&b, "\x1b[%d;1H%s%s%s%s", i+1, colour, line, clearRight, noColour)
	}
	b.WriteString(restore)
	_, _ = io.WriteString(d.out, b.String())
}

// end leaves the whole screen to whoever writes next.
func (d display) end() {
	fmt.Fprintf(d.out, "%s\x1b[r%s", save, restore)
}
