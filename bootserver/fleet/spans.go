package fleet

import (
	"cmp"
	"slices"
	"time"

	"swarmboot/initramfs/stage"
)

// A Span is the time that a boot was at one stage, counted from its begin.
type Span struct {
	Stage    stage.Stage
	From, To time.Duration
}

// Spans gives each stage that b has reached the time until the next one was
// reached. On a fast network an image is complete before the login: so the next
// is the next in time. The last one lasts until end, if that is later.
func (b Timeline) Spans(end time.Duration) []Span {
	spans := make([]Span, 0, len(b.Stages))
	for s, ms := range b.Stages {
		spans = append(spans, Span{Stage: s, From: time.Duration(ms) * time.Millisecond})
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Or(cmp.Compare(a.From, b.From), a.Stage.Index()-b.Stage.Index()) })
	for i := range spans {
		spans[i].To = max(end, spans[i].From)
		if i+1 < len(spans) {
			spans[i].To = spans[i+1].From
		}
	}
	return spans
}
