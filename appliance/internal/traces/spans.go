package traces

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"swarmboot/initramfs/stage"
)

// tell makes spans of a boot that has ended: one for the whole, and in it one for
// each stage, until the next was reached. The last one of a boot that went well
// lasts as long as the machine; here it is a moment.
func (w *watch) tell(m known, now time.Time) {
	end := now.Sub(m.boot.Began)
	if m.told == stage.Seeding {
		end = 0
	}
	spans := m.boot.Spans(end)
	at := func(d time.Duration) trace.SpanEventOption { return trace.WithTimestamp(m.boot.Began.Add(d)) }
	facts := []attribute.KeyValue{attribute.String("machine", m.MAC), attribute.String("image", m.boot.Image)}
	for key, value := range map[string]string{"name": m.Name, "rack": m.Rack, "group": m.Group} {
		if value != "" {
			facts = append(facts, attribute.String(key, value))
		}
	}
	if p := m.Progress; p != nil {
		facts = append(facts, attribute.Int64("from_peers", p.FromPeers), attribute.Int64("from_server", p.FromServer))
	}
	ctx, whole := w.tracer.Start(context.Background(), "boot "+cmp.Or(m.Name, m.MAC), at(0), trace.WithAttributes(facts...))
	wrong := ""
	switch m.told {
	case stage.Failed:
		wrong = "failed at " + string(m.boot.Failed) + ": " + m.boot.Reason
	case "":
		wrong = "another boot began"
	}
	for i, s := range spans {
		_, span := w.tracer.Start(ctx, string(s.Stage), at(s.From), trace.WithAttributes(facts[0], attribute.String("stage", string(s.Stage))))
		if wrong != "" && i == len(spans)-1 {
			span.SetStatus(codes.Error, wrong)
		}
		span.End(at(s.To))
	}
	if wrong != "" {
		whole.SetStatus(codes.Error, wrong)
	}
	whole.End(at(spans[len(spans)-1].To))
}
