package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestCropAndRedraw(t *testing.T) {
	lines := cropTo("heading\nçedilla and more\nthird\n", 7, 2)
	if want := []string{"heading", "çedilla"}; !reflect.DeepEqual(lines, want) {
		t.Errorf("cropTo = %q; want %q", lines, want)
	}
	if got, want := redraw(0, lines), "\r\x1b[Jheading\nçedilla\n"; got != want {
		t.Errorf("first redraw = %q; want %q", got, want)
	}
	if got, want := redraw(2, []string{"x"}), "\x1b[2A\r\x1b[Jx\n"; got != want {
		t.Errorf("second redraw = %q; want %q", got, want)
	}
}

// TestLiveIntoAFile checks that what is no terminal gets plain text, and that
// Live ends with its context, or with an error.
func TestLiveIntoAFile(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err = Live(ctx, time.Nanosecond, out, func(_ context.Context, w io.Writer) error {
		if n++; n == 3 {
			cancel()
		}
		fmt.Fprintln(w, n)
		return nil
	})
	if got, _ := os.ReadFile(out.Name()); err != nil || string(got) != "1\n2\n" {
		t.Errorf("Live = %v and wrote %q; want nil and the outputs before its end", err, got)
	}
	gone := errors.New("gone")
	if err := Live(t.Context(), time.Nanosecond, out, func(context.Context, io.Writer) error { return gone }); err != gone {
		t.Errorf("Live = %v; want %v", err, gone)
	}
}
