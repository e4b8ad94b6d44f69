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

// steps shows the steps of a long job: those that are over in a line each, and on
// a terminal below them the one that runs, with a bar or, as long as nobody knows
// its length, a spinner.
type steps struct {
	out     io.Writer
	bars    *mpb.Progress // nil if out is no terminal
	name    string        // of the step that runs
	began   time.Time
	bar     *mpb.Bar // of the step that runs; nil if out is no terminal
	spinner bool     // bar is one
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
	switch {
	case name != s.name:
		s.finish(true)
		s.name, s.began = name, time.Now()
		s.draw(total == 0)
	case s.spinner && total > 0: // its length is known now
		s.bar.Abort(true)
		s.draw(false)
	}
	if s.bar != nil && total > 0 {
		s.bar.SetTotal(total, false)
		s.bar.SetCurrent(done)
	}
}

// draw shows the step that runs.
func (s *steps) draw(spinner bool) {
	if s.bars == nil {
		fmt.Fprintf(s.out, "%s ...\n", s.name)
		return
	}
	began := s.began
	label := mpb.PrependDecorators(decor.Name(s.name, decor.WC{W: 28, C: decor.DindentRight}))
	elapsed := decor.Any(func(decor.Statistics) string { return time.Since(began).Round(time.Second).String() }, decor.WC{W: 8})
	if s.spinner = spinner; spinner {
		s.bar = s.bars.AddSpinner(0, label, mpb.AppendDecorators(elapsed))
		return
	}
	// Its total is set later: a bar made with one cannot be ended by SetTotal.
	s.bar = s.bars.AddBar(0, label, mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), elapsed))
}

// finish ends the step that runs.
func (s *steps) finish(well bool) {
	if s.name == "" {
		return
	}
	if s.bar != nil {
		s.bar.Abort(true)
	}
	how := "done in"
	if !well {
		how = "stopped after"
	}
	fmt.Fprintf(s, "%s: %s %v\n", s.name, how, time.Since(s.began).Round(100*time.Millisecond))
	s.name, s.bar, s.spinner = "", nil, false
}

// end ends the last step and waits until all is drawn.
func (s *steps) end(well bool) {
	s.finish(well)
	if s.bars != nil {
		s.bars.Wait()
	}
}

// Write puts lines above the bar.
func (s *steps) Write(p []byte) (int, error) {
	if s.bars != nil {
		return s.bars.Write(p)
	}
	return s.out.Write(p)
}
