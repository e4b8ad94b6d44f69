package traces

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/initramfs/stage"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

var began = time.Unix(1800000000, 0)

// at is a machine that has reached stages one second after the other.
func at(boot int, stages ...stage.Stage) fleet.MachineStatus {
	m := fleet.MachineStatus{MAC: "52:54:00:77:00:01", Name: "r1-n01", Rack: "r1", Image: "lab@1", Times: map[stage.Stage]time.Time{}}
	for i, s := range stages {
		m.Stage = s
		if s == stage.Failed {
			m.At, m.Reason = stage.Root, "no such device"
			continue
		}
		m.Times[s] = began.Add(time.Duration(boot)*time.Hour + time.Duration(i)*time.Second)
	}
	return m
}

func TestBootsThatEndAreTold(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	w := watch{tracer: trace.NewTracerProvider(trace.WithSpanProcessor(recorder)).Tracer("")}
	for i, c := range []struct {
		m    fleet.MachineStatus
		want string // the spans, in the order in which they end
	}{
		{at(0, stage.DHCP, stage.Ready, stage.Seeding), ""}, // before the first look
		{at(1, stage.DHCP), ""},
		{at(1, stage.DHCP, stage.Kernel), ""},
		{at(1, stage.DHCP, stage.Kernel, stage.Failed), "dhcp 1s, kernel 98s failed, boot r1-n01 99s failed"},
		{at(1, stage.DHCP, stage.Kernel, stage.Failed), ""}, // again, for the same reason
		{at(1, stage.DHCP, stage.Kernel, stage.Init, stage.Ready, stage.Seeding), "dhcp 1s, kernel 1s, init 1s, ready 1s, seeding 0s, boot r1-n01 4s"},
		{at(1, stage.DHCP, stage.Kernel, stage.Init, stage.Ready, stage.Seeding), ""},
		{at(2, stage.DHCP, stage.Complete, stage.Seeding, stage.SwitchRoot), ""},
		{at(3, stage.DHCP), "dhcp 1s, complete 1s, seeding 1s, switch-root 3597s failed, boot r1-n01 3600s failed"},
	} {
		told := len(recorder.Ended())
		w.look([]fleet.MachineStatus{c.m}, began.Add(time.Hour+99*time.Second))
		var got []string
		for _, s := range recorder.Ended()[told:] {
			text := s.Name() + " " + s.EndTime().Sub(s.StartTime()).Round(time.Second).String()
			if s.Status().Code == codes.Error {
				text += " failed"
			}
			got = append(got, strings.NewReplacer("1m38s", "98s", "1m39s", "99s", "59m57s", "3597s", "1h0m0s", "3600s").Replace(text))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("look %d: told %s; want %s", i, strings.Join(got, ", "), c.want)
		}
	}
}

// source is one machine.
type source struct {
	mu      sync.Mutex
	machine fleet.MachineStatus // guarded by mu
	changes uint64              // guarded by mu
	asked   chan struct{}       // closed when it was asked
}

func (s *source) becomes(m fleet.MachineStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine = m
	s.changes++
}

func (s *source) MachinesSince(last uint64) (changed []fleet.MachineStatus, removed []string, now uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last == 0 {
		close(s.asked)
	}
	if last >= s.changes {
		return nil, nil, s.changes
	}
	return []fleet.MachineStatus{s.machine}, nil, s.changes
}

// TestCollector sends a boot to a collector, as OTLP over HTTP.
func TestCollector(t *testing.T) {
	heard := make(chan []*otlp.Span, 9)
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &request) != nil {
			t.Errorf("%s %s with %d bytes, %v; want OTLP", r.Method, r.URL, len(body), err)
		}
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				heard <- scope.Spans
			}
		}
	}))
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	s, done := &source{asked: make(chan struct{})}, make(chan error)
	s.becomes(at(0, stage.DHCP))
	go func() { done <- Run(ctx, s, there.URL+"/v1/traces", "1", slog.New(slog.DiscardHandler)) }()
	<-s.asked
	s.becomes(at(0, stage.DHCP, stage.Kernel, stage.Ready, stage.Seeding))
	var spans []*otlp.Span
	for len(spans) < 5 { // they may come in two requests
		spans = append(spans, <-heard...)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(spans) != 5 {
		t.Fatalf("%d spans; want 5: %v", len(spans), spans)
	}
	whole := spans[4]
	facts := map[string]string{}
	for _, a := range whole.Attributes {
		facts[a.Key] = a.Value.GetStringValue()
	}
	if want := map[string]string{"machine": "52:54:00:77:00:01", "name": "r1-n01", "rack": "r1", "image": "lab@1"}; !maps.Equal(facts, want) {
		t.Errorf("%s has %v; want %v", whole.Name, facts, want)
	}
	for _, span := range spans[:4] {
		if !slices.Equal(span.TraceId, whole.TraceId) || !slices.Equal(span.ParentSpanId, whole.SpanId) {
			t.Errorf("%s is not a part of %s", span.Name, whole.Name)
		}
	}
	if whole.StartTimeUnixNano != uint64(began.UnixNano()) || whole.EndTimeUnixNano != uint64(began.Add(3*time.Second).UnixNano()) {
		t.Errorf("%s lasts from %d to %d", whole.Name, whole.StartTimeUnixNano, whole.EndTimeUnixNano)
	}
}
