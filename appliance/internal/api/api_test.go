package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/api/apitest"
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/power"
	"swarmboot/bootserver/fleet"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.json")

// The pages' types and programs of others are made from the document.
func TestDescriptionIsPublished(t *testing.T) {
	const path = "../../../docs/openapi.json"
	text, err := api.Description("1")
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

// switchable is the one machine that can be switched, by a command, which finds it
// on.
var switchable = map[string]power.Machine{"52:54:00:77:00:01": {Way: power.Way{Kind: power.Command, Command: []string{"echo", "on"}}}}

func TestQuestions(t *testing.T) {
	server := &apitest.Server{
		Known: []fleet.MachineStatus{{MAC: "52:54:00:77:00:01", Name: "r1-n01"}},
		Lines: []journal.Line{{Number: 1, Text: "boot begins"}, {Number: 2, Text: "offer sent"}},
	}
	server.Board.Set(switchable)
	handler := api.Handler(server, server, "1", slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		path string
		code int
	}{
		{"/machines", 200}, {"/machines/52:54:00:77:00:01", 200}, {"/machines/52:54:00:77:00:02", 404}, {"/images", 200}, {"/settings", 200},
		{"/machines/52:54:00:77:00:01/power", 200}, {"/machines/52:54:00:77:00:02/power", 409},
		{"/machines/52:54:00:77:00:01/log", 200}, {"/machines/52:54:00:77:00:01/log?after=1", 200}, {"/machines/52:54:00:77:00:01/log?after=x", 422}, {"/machines/x/log", 404}, {"/swarms", 200},
		{"/throughput", 422}, {"/throughput?image=lab@1", 200}, {"/networks", 200}, {"/origin", 200}, {"/leases", 200}, {"/strangers", 200}, {"/openapi.json", 200}, {"/nothing", 404},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, api.Prefix+c.path, nil))
		if w.Code != c.code {
			t.Errorf("GET %s = %d %s; want %d", c.path, w.Code, w.Body, c.code)
		}
		if c.code == 200 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("GET %s = %s; want JSON", c.path, w.Body)
		}
	}
}

// Each change is made once, is refused in words where it cannot be, and stands
// in the log with who made it.
func TestChanges(t *testing.T) {
	server := &apitest.Server{Versions: []string{"1", "2"}, Known: []fleet.MachineStatus{{MAC: "52:54:00:77:00:01"}}}
	server.Board.Set(switchable)
	var log strings.Builder
	handler := api.Handler(server, server, "1", slog.New(slog.NewTextHandler(&log, nil)))
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		want                     string // in the answer
	}{
		{"adopt", "POST", "/machines", `{"mac":"52-54-00-77-00-09","name":"r1-n09","rack":"r1"}`, 204, ""},
		{"adopt again", "POST", "/machines", `{"mac":"52:54:00:77:00:09"}`, 409, "listed already"},
		{"adopt nothing", "POST", "/machines", `{}`, 422, "mac"},
		{"adopt no MAC address", "POST", "/machines", `{"mac":"r1-n09"}`, 422, "six hex bytes"},
		{"adopt with a slip", "POST", "/machines", `{"mac":"52:54:00:77:00:08","nmae":"x"}`, 422, "nmae"},
		{"no JSON", "POST", "/machines", `mac=1`, 400, ""},
		{"too much", "POST", "/machines", `{"mac":"` + strings.Repeat("5", 1<<17) + `"}`, 413, ""},
		{"a new tag", "PUT", "/images/lab/tags/stable", `{"version":"1"}`, 200, `"image":"lab@1"`},
		{"the tag moves", "PUT", "/images/lab/tags/stable", `{"version":"2"}`, 200, `"before":"lab@1"`},
		{"to what is not there", "PUT", "/images/lab/tags/stable", `{"version":"9"}`, 404, "lab@9"},
		{"to no version", "PUT", "/images/lab/tags/stable", `{"version":"../../x"}`, 422, "lower-case"},
		{"a tag that is none", "PUT", "/images/lab/tags/..%2f..%2fkeys", `{"version":"1"}`, 422, "lower-case"},
		{"the tag goes", "DELETE", "/images/lab/tags/stable", "", 204, ""},
		{"and is gone", "DELETE", "/images/lab/tags/stable", "", 404, "lab@stable"},
		{"an override", "PUT", "/machines/52:54:00:77:00:01/override", `{"image":"lab@2"}`, 200, `{"image":"lab@2","stays":false,"boot":0}`},
		{"one of a machine that is not listed", "PUT", "/machines/52:54:00:77:00:02/override", `{"image":"lab@2"}`, 404, "not listed"},
		{"one with no such image", "PUT", "/machines/52:54:00:77:00:01/override", `{"image":"lab@9"}`, 404, "lab@9"},
		{"one with no image", "PUT", "/machines/52:54:00:77:00:01/override", `{"image":"lab"}`, 422, "name@version"},
		{"a rollback", "POST", "/machines/52:54:00:77:00:01/rollback", "", 200, `{"image":"lab@1","stays":true,"boot":0}`},
		{"the machine is released", "DELETE", "/machines/52:54:00:77:00:01/override", "", 204, ""},
		{"off", "POST", "/machines/52:54:00:77:00:01/power", `{"action":"off"}`, 204, ""},
		{"on and boot from the network", "POST", "/machines/52:54:00:77:00:01/power", `{"action":"on","network":true}`, 204, ""},
		{"off again, a machine without power", "POST", "/machines/52:54:00:77:00:09/power", `{"action":"off"}`, 409, "BMC"},
		{"an action that is none", "POST", "/machines/52:54:00:77:00:01/power", `{"action":"explode"}`, 422, "action"},
		{"a way that is none", "DELETE", "/machines", "", 405, ""},
	} {
		r := httptest.NewRequest(c.method, api.Prefix+c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(access.WithAdmin(t.Context(), access.Admin{Name: "anna", Peer: "10.0.0.1:1"})))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %s %s = %d %s; want %d with %s", c.name, c.method, c.path, w.Code, w.Body, c.code, c.want)
		}
	}
	if got := server.Adopted(); len(got) != 1 || got[0].MAC.String() != "52:54:00:77:00:09" || got[0].Rack != "r1" {
		t.Errorf("adopted %+v; want one machine", got)
	}
	var noted []string
	for line := range strings.Lines(log.String()) {
		_, what, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		noted = append(noted, what)
	}
	want := []string{
		`"machine listed" audit=true admin=anna peer=10.0.0.1:1 machine=52:54:00:77:00:09 name=r1-n09 rack=r1 group="" image=""`,
		`"tag moved" audit=true admin=anna peer=10.0.0.1:1 tag=lab@stable image=lab@1 before=""`,
		`"tag moved" audit=true admin=anna peer=10.0.0.1:1 tag=lab@stable image=lab@2 before=lab@1`,
		`"tag removed" audit=true admin=anna peer=10.0.0.1:1 tag=lab@stable`,
		`"machine overridden" audit=true admin=anna peer=10.0.0.1:1 machine=52:54:00:77:00:01 image=lab@2 stays=false`,
		`"machine rolled back" audit=true admin=anna peer=10.0.0.1:1 machine=52:54:00:77:00:01 image=lab@1`,
		`"machine released" audit=true admin=anna peer=10.0.0.1:1 machine=52:54:00:77:00:01`,
		`"machine switched" audit=true admin=anna peer=10.0.0.1:1 machine=52:54:00:77:00:01 action=off network=false`,
		`"machine switched" audit=true admin=anna peer=10.0.0.1:1 machine=52:54:00:77:00:01 action=on network=true`,
	}
	if strings.Join(noted, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log says\n%s\nwant\n%s", strings.Join(noted, "\n"), strings.Join(want, "\n"))
	}
}
