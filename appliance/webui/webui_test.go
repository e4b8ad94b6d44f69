package webui

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestGuard(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("api " + r.Method)) })
	handler, err := Handler(map[string]http.Handler{"/api/v1/": api}, []string{"boot.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, url string
		header            [2]string
		code              int
	}{
		{"an address", "GET", "http://10.77.0.1:8470/api/v1/x", [2]string{}, 200},
		{"an IPv6 address", "GET", "http://[::1]:8470/api/v1/x", [2]string{}, 200},
		{"localhost", "GET", "http://localhost:8470/api/v1/x", [2]string{}, 200},
		{"a name of ours", "GET", "http://Boot.Example.:8470/api/v1/x", [2]string{}, 200},
		{"a name that was pointed here", "GET", "http://evil.example/api/v1/x", [2]string{}, 421},
		{"a form on a foreign page", "POST", "http://10.77.0.1/api/v1/x", [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a foreign page of an old browser", "POST", "http://10.77.0.1/api/v1/x", [2]string{"Origin", "http://evil.example"}, 403},
		{"a page of ours", "POST", "http://10.77.0.1/api/v1/x", [2]string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"a program", "POST", "http://10.77.0.1/api/v1/x", [2]string{}, 200},
		{"a page is only read", "POST", "http://10.77.0.1/", [2]string{}, 405},
	} {
		r := httptest.NewRequest(c.method, c.url, nil)
		if c.header[0] != "" {
			r.Header.Set(c.header[0], c.header[1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%s: %d %s; want %d", c.name, w.Code, w.Body, c.code)
		}
		if w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: no security policy", c.name)
		}
	}
}

func TestFiles(t *testing.T) {
	all, err := loadFiles(fstest.MapFS{
		"index.html": {Data: []byte("<!doctype html>")}, "page.js": {Data: []byte(strings.Repeat("js", 100))}, "README": {Data: []byte("no page")},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		all.ServeHTTP(w, r)
		return w
	}
	for path, want := range map[string]string{"/": "<!doctype html>", "/machines/52:54:00:77:00:01": "<!doctype html>", "/page.js": strings.Repeat("js", 100)} {
		if w := get(path); w.Code != 200 || w.Body.String() != want {
			t.Errorf("GET %s = %d %s; want %s", path, w.Code, w.Body, want)
		}
	}
	for _, path := range []string{"/other.js", "/README.txt"} {
		if w := get(path); w.Code != 404 {
			t.Errorf("GET %s = %d; want 404", path, w.Code)
		}
	}
	zipped := get("/page.js", "Accept-Encoding", "gzip")
	if zipped.Header().Get("Content-Encoding") != "gzip" || zipped.Body.Len() >= 100 {
		t.Errorf("GET with gzip = %v, %d bytes", zipped.Header(), zipped.Body.Len())
	}
	if w := get("/page.js", "Accept-Encoding", "gzip", "If-None-Match", zipped.Header().Get("ETag")); w.Code != 304 {
		t.Errorf("GET of what the browser has = %d; want 304", w.Code)
	}
}

func TestPagesThatWereNotBuilt(t *testing.T) {
	w := httptest.NewRecorder()
	files{}.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "make build") {
		t.Errorf("GET / = %d %s; want what to do", w.Code, w.Body)
	}
}
