package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"swarmboot/bootserver"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.json")

// The pages' types and programs of others are made from the document.
func TestDescriptionIsPublished(t *testing.T) {
	const path = "../../../docs/openapi.json"
	text, err := Description("1")
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", " "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	if *update {
		if err := os.WriteFile(path, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(indented.Bytes(), want) {
		t.Errorf("the API is another than docs/openapi.json says; go test ./appliance/internal/api -update")
	}
}

// source is a Source of what it holds.
type source struct {
	machines []bootserver.MachineStatus
	changes  uint64
}

func (s *source) Machines() []bootserver.MachineStatus { return s.machines }
func (s *source) MachinesSince(last uint64) ([]bootserver.MachineStatus, uint64) {
	if last >= s.changes {
		return nil, s.changes
	}
	return append([]bootserver.MachineStatus{}, s.machines...), s.changes
}
func (s *source) Machine(mac string) (bootserver.MachineDetail, bool) {
	for _, m := range s.machines {
		if m.MAC == mac {
			return bootserver.MachineDetail{MachineStatus: m, Past: []bootserver.Timeline{}}, true
		}
	}
	return bootserver.MachineDetail{}, false
}
func (s *source) Images() ([]bootserver.ImageStatus, error) { return []bootserver.ImageStatus{}, nil }
func (s *source) Swarms() []bootserver.SwarmStatus          { return []bootserver.SwarmStatus{{Image: "lab@1"}} }
func (s *source) Throughput(image string) bootserver.Throughput {
	return bootserver.Throughput{Image: image, Server: []int64{1}, Peers: []int64{2}}
}
func (s *source) Networks() []bootserver.NetworkStatus { return []bootserver.NetworkStatus{} }
func (s *source) Leases() []bootserver.Lease           { return []bootserver.Lease{} }
func (s *source) Strangers() []bootserver.Stranger     { return []bootserver.Stranger{} }

func TestQuestions(t *testing.T) {
	handler := Handler(&source{machines: []bootserver.MachineStatus{{MAC: "52:54:00:77:00:01", Name: "r1-n01"}}}, "1")
	for _, c := range []struct {
		path string
		code int
	}{
		{"/machines", 200}, {"/machines/52:54:00:77:00:01", 200}, {"/machines/52:54:00:77:00:02", 404}, {"/images", 200}, {"/swarms", 200},
		{"/throughput", 422}, {"/throughput?image=lab@1", 200}, {"/networks", 200}, {"/leases", 200}, {"/strangers", 200}, {"/openapi.json", 200}, {"/nothing", 404},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Prefix+c.path, nil))
		if w.Code != c.code {
			t.Errorf("GET %s = %d %s; want %d", c.path, w.Code, w.Body, c.code)
		}
		if c.code == 200 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("GET %s = %s; want JSON", c.path, w.Body)
		}
	}
}
