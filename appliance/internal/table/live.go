package table

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Live calls show at once and then each time the interval has passed, until ctx
// is done. On a terminal each output takes the place of the one before, and an
// error is shown in its place, since the server may come back. Elsewhere the
// outputs follow each other, and an error ends it.
func Live(ctx context.Context, interval time.Duration, out *os.File, show func(context.Context, io.Writer) error) error {
	onTerminal := term.IsTerminal(int(out.Fd()))
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for drawn := 0; ; {
		var frame bytes.Buffer
		err := show(ctx, &frame)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !onTerminal:
			return err
		case err != nil:
			frame.Reset()
			fmt.Fprintln(&frame, err)
		}
		text := frame.String()
		if onTerminal {
			lines := crop(text, out)
			text, drawn = redraw(drawn, lines), len(lines)
		}
		if _, err := io.WriteString(out, text); err != nil {
			return fmt.Errorf("show: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// crop cuts text to the size of the terminal: a line that wraps, or one that
// scrolls out, could not be drawn over.
func crop(text string, out *os.File) []string {
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	return cropTo(text, width, height-1)
}

func cropTo(text string, width, height int) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = lines[:min(len(lines), height)]
	for i, line := range lines {
		if runes := []rune(line); len(runes) > width {
			lines[i] = string(runes[:width])
		}
	}
	return lines
}

// redraw goes up over the lines drawn before, clears to the end of the screen
// and writes the new ones.
func redraw(drawn int, lines []string) string {
	up := ""
	if drawn > 0 {
		up = fmt.Sprintf("\x1b[%dA", drawn)
	}
	return up + "\r\x1b[J" + strings.Join(lines, "\n") + "\n"
}
