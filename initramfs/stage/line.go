package stage

import (
	"encoding/json"
	"strings"
)

// progressWord begins a line with which peerd tells init, on the same machine,
// how much of the image has come.
const progressWord = "progress: "

// Line is p as one line of text, without its end.
func (p Progress) Line() string {
	data, _ := json.Marshal(p) // numbers alone: it cannot fail
	return progressWord + string(data)
}

// ParseProgressLine is what Line made; ok is false for any other line.
func ParseProgressLine(line string) (p Progress, ok bool) {
	text, ok := strings.CutPrefix(line, progressWord)
	return p, ok && json.Unmarshal([]byte(text), &p) == nil
}
