package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one mistake in the settings file.
type Problem struct {
	File         string
	Line, Column int    // from 1; 0 where the parser does not tell
	Path         string // such as machines[2].mac; empty for the file as a whole
	Text         string // what is wrong there, and what would be right
}

// Error is FILE:LINE:COLUMN: PATH: TEXT, the form that editors can jump to.
func (p Problem) Error() string {
	s := p.File
	for _, n := range []int{p.Line, p.Column} {
		if n > 0 {
			s += fmt.Sprintf(":%d", n)
		}
	}
	if p.Path != "" {
		s += ": " + p.Path
	}
	return s + ": " + p.Text
}

// Problems are all mistakes of one file, in the order of its lines.
type Problems []Problem

// Error has one line for each mistake.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
