package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/vm"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiverFile names the variable with the file in which a receiver of webhooks
// and traces keeps what it gets.
const receiverFile = "SWARMBOOT_RECEIVER"

// received is one request, as it came.
type received struct {
	Path   string
	Header http.Header
	Body   []byte
}

// receive keeps what comes until it is killed. The first of each path it refuses,
// so that it must be told again.
func receive(file string) error {
	kept, err := os.Create(file)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	all := json.NewEncoder(kept)
	return http.ListenAndServe("127.0.0.1:4318", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if !seen[r.URL.Path] || err != nil {
			seen[r.URL.Path] = true
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if all.Encode(received{r.URL.Path, r.Header, body}) != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
}

// TestTelling boots four simulated machines before a program that takes webhooks
// and traces, and reads one boot in the log.
func TestTelling(t *testing.T) {
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("tests the programs in build/; run it by make e2e, which sets SWARMBOOT_E2E=1")
	}
	const machines = 4
	secret := []byte("a secret of thirty-two bytes....")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHall(t, machines, "webhooks: {test: {url: 'http://127.0.0.1:4318/hook', secret: "+file+", stages: [kernel, ready, seeding]}}\n",
		"traces: {url: 'http://127.0.0.1:4318/v1/traces'}\n")
	kept := filepath.Join(h.dir, "received.json")
	running := func(context.Context) error { _, err := os.Stat(kept); return err }
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.lan.Serve(t.Context(), running, filepath.Join(h.dir, "receiver.log"), "env", receiverFile+"="+kept, self); err != nil {
		t.Fatal(err)
	}
	h.powerOn(machines, 4*time.Second, time.Second, 0)

	var hooks, traces map[string][]string // by the machine's name
	deadline := time.After(vm.Stall)
	for tick := time.Tick(200 * time.Millisecond); !told(hooks, 3) || !told(traces, 1); {
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("webhooks %v, traces %v; want 3 and 1 of each machine; the receiver says: %s", hooks, traces, vm.LogTail(filepath.Join(h.dir, "receiver.log"), 9))
		}
		all := readReceived(t, kept)
		hooks, traces = hooksIn(t, all, secret), tracesIn(t, all)
	}
	for name, got := range hooks {
		if want := []string{"machine.kernel", "machine.ready", "machine.seeding"}; !slices.Equal(got, want) {
			t.Errorf("webhooks of %s: %v; want %v", name, got, want)
		}
	}
	for name, got := range traces {
		if want := "dhcp script kernel init network swarm root switch-root ready complete handed-over seeding"; !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("spans of %s: %v; want %s", name, got, want)
		}
	}
	promise(t, "the log tells one boot as a story", func(t *testing.T) {
		log, status := swarmboot(t, "machine", "log", "r01-n02", "--state", filepath.Join(h.dir, "state"))
		rest := log
		for _, words := range []string{"boot begins", "stage=kernel", "stage=network", "stage=swarm", "stage=ready", "stage=seeding"} {
			_, after, found := strings.Cut(rest, words)
			if !found {
				t.Fatalf("status %d; no %q in its place:\n%s", status, words, log)
			}
			rest = after
		}
	})
}

// told tells whether all four machines have as many entries.
func told(all map[string][]string, entries int) bool {
	count := 0
	for _, one := range all {
		if len(one) >= entries {
			count++
		}
	}
	return count == 4
}

func readReceived(t *testing.T, file string) (all []received) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for in := json.NewDecoder(bytes.NewReader(data)); ; {
		var r received
		switch err := in.Decode(&r); {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF): // it writes
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

// hooksIn are the events of webhooks, which it verifies as a receiver of Standard
// Webhooks does.
func hooksIn(t *testing.T, all []received, secret []byte) map[string][]string {
	t.Helper()
	hooks := map[string][]string{}
	for _, r := range all {
		if r.Path != "/hook" {
			continue
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "."))
		mac.Write(r.Body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
			t.Errorf("signature %q; want %q", r.Header.Get("webhook-signature"), want)
		}
		var event struct {
			Type string
			Data struct{ Name string }
		}
		if err := json.Unmarshal(r.Body, &event); err != nil {
			t.Errorf("webhook %s: %v", r.Body, err)
		}
		hooks[event.Data.Name] = append(hooks[event.Data.Name], event.Type)
	}
	return hooks
}

// tracesIn are the stages of each boot whose end was told by OTLP. The spans of one
// boot may come in two requests.
func tracesIn(t *testing.T, all []received) map[string][]string {
	t.Helper()
	stages, boots := map[string][]string{}, map[string][]string{} // by trace, and by machine
	for _, r := range all {
		if r.Path != "/v1/traces" {
			continue
		}
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(r.Body, &request); err != nil {
			t.Fatal(err)
		}
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					trace := string(span.TraceId)
					if name, whole := strings.CutPrefix(span.Name, "boot "); whole {
						boots[name] = append(boots[name], stages[trace]...)
					} else {
						stages[trace] = append(stages[trace], span.Name)
					}
				}
			}
		}
	}
	return boots
}
