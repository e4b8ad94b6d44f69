// Package traces tells an OpenTelemetry collector of boots: each is a trace, with
// a span for each stage, sent by OTLP over HTTP when the boot has ended.
//
// A boot travels watch (watch.go), which finds out that it has ended, then spans
// (spans.go), then the library's queue. cmd/swarmboot is the only caller.
package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"swarmboot/appliance/internal/follow"
	"swarmboot/bootserver/fleet"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

const (
	lookEvery = time.Second
	// queued bounds the spans that wait for the collector: a hall of thousands of
	// machines, each with a dozen, that are ready at once.
	queued = 1 << 16
	// lastWords is how long the collector has to take what is left at the end.
	lastWords = 2 * time.Second
)

// Run tells the collector at url of the boots of source that end from now on,
// until ctx is done; an empty url means that there is none. The library obeys the
// variables OTEL_EXPORTER_OTLP_* besides, such as _HEADERS and _CERTIFICATE.
func Run(ctx context.Context, source follow.Source, url, version string, log *slog.Logger) error {
	if url == "" {
		return nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(url))
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	provider := trace.NewTracerProvider(
		trace.WithBatcher(&speaking{SpanExporter: exporter, log: log}, trace.WithMaxQueueSize(queued), trace.WithBatchTimeout(lookEvery)),
		trace.WithResource(resource.NewSchemaless(attribute.String("service.name", "swarmboot"), attribute.String("service.version", version))),
	)
	w := watch{tracer: provider.Tracer("swarmboot")}
	follow.Machines(ctx, source, lookEvery, func(changed []fleet.MachineStatus) { w.look(changed, time.Now()) })
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		log.Warn("the collector was not told of the last boots", "err", err)
	}
	return nil
}

// speaking is an exporter that says once when spans are lost, and once when they
// are taken again. Before that the exporter has tried for a minute.
type speaking struct {
	trace.SpanExporter
	log  *slog.Logger
	deaf bool // the last ones were not taken; of the one goroutine that exports
}

func (s *speaking) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	err := s.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !s.deaf:
		s.log.Error("the collector does not take traces; those of now are lost", "err", err)
	case err == nil && s.deaf:
		s.log.Info("the collector takes traces again")
	}
	s.deaf = err != nil
	return nil // it is told
}
