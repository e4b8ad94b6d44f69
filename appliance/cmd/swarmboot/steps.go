package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// steps shows the steps of a long job one below the other: on a terminal each
// with a bar or, where its length is not known, a spinner; elsewhere in lines.
type steps struct {
	out   io.Writer
	bars  *mpb.Progress // nil if out is no terminal
	name  string        // of the step that runs
	began time.Time
	bar   *mpb.Bar
}

func newSteps(out io.Writer) *steps {
	s := &steps{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.bars = mpb.New(mpb.WithOutput(out))
	}
	return s
}

// progress is called as a step goes on; total is 0 where it is not known. It
// belongs to one goroutine.
func (s *steps) progress(name string, done, total int64) {
	if name != s.name {
		s.finish(true)
		s.name, s.began = name, time.Now()
		s.begin(total)
	}
	if s.bar != nil && total > 0 {
		s.bar.SetTotal(total, false)
		s.bar.SetCurrent(done)
	}
}

func (s *steps) begin(total int64) {
	label := mpb.PrependDecorators(decor.Name(s.name, decor.WC{W: 28, C: decor.DindentRight}))
	elapsed := decor.OnAbort(decor.OnComplete(decor.Elapsed(decor.ET_STYLE_GO, decor.WC{W: 8}), "  done"), "  stopped")
	switch {
	case s.bars == nil:
		fmt.Fprintf(s.out, "%s ...\n", s.name)
	case total > 0: // set later: a bar made with its total cannot be ended by SetTotal
		s.bar = s.bars.AddBar(0, label, mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), elapsed))
	default:
		s.bar = s.bars.AddSpinner(0, label, mpb.AppendDecorators(elapsed), mpb.BarFillerClearOnComplete())
	}
}

// finish ends the step that runs.
func (s *steps) finish(well bool) {
	switch {
	case s.name == "":
	case s.bar == nil && well:
		fmt.Fprintf(s.out, "%s: done in %v\n", s.name, time.Since(s.began).Round(100*time.Millisecond))
	case s.bar != nil && well:
		s.bar.SetTotal(-1, true) // the total is what it has come to
	case s.bar != nil:
		s.bar.Abort(false)
	}
	s.name, s.bar = "", nil
}

// end ends the last step and waits until all is drawn.
func (s *steps) end(well bool) {
	s.finish(well)
	if s.bars != nil {
		s.bars.Wait()
	}
}

// Write puts log lines above the bars.
func (s *steps) Write(p []byte) (int, error) {
	if s.bars != nil {
		return s.bars.Write(p)
	}
	return s.out.Write(p)
}
