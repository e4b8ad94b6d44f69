package api_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/api/apitest"
	"swarmboot/bootserver/fleet"
)

// Whatever is asked, the answer is the server's, in JSON, and never that it
// failed. The seeds are all operations of the description.
func FuzzRequests(f *testing.F) {
	text, err := api.Description("1")
	if err != nil {
		f.Fatal(err)
	}
	var description struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(text, &description); err != nil {
		f.Fatal(err)
	}
	for path, operations := range description.Paths {
		for method := range operations {
			for _, body := range []string{"", `{"mac":"52:54:00:77:00:09","version":"1"}`, `{"action":"on","network":true}`, `{"mac":null,"version":7}`, `[]`, `{"mac":`, "\x00"} {
				f.Add(strings.ToUpper(method), strings.NewReplacer("{mac}", "52:54:00:77:00:01", "{name}", "lab", "{tag}", "stable").Replace(path), "image=lab@1&after=1", "application/json", body)
			}
		}
	}
	f.Add("PUT", api.Prefix+"/images/../tags/..", "after=-1", "application/cbor", "\xa1")
	server := &apitest.Server{Versions: []string{"1"}, Known: []fleet.MachineStatus{{MAC: "52:54:00:77:00:01"}}}
	handler := api.Handler(server, server, "1", slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, method, path, query, kind, body string) {
		if path == api.Prefix+"/events" {
			t.Skip("has no end")
		}
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{"Content-Type": {kind}}, Host: "x", ProtoMajor: 1, ProtoMinor: 1}
		sent := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Body, r.ContentLength = sent.Body, sent.ContentLength
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(t.Context()))
		if w.Code >= 500 {
			t.Errorf("%s %s?%s with %s %q = %d %s", method, path, query, kind, body, w.Code, w.Body)
		}
		if strings.Contains(w.Header().Get("Content-Type"), "json") && w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s?%s = %d %s; want JSON", method, path, query, w.Code, w.Body)
		}
	})
}
