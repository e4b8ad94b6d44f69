package webui

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"swarmboot/appliance/webui/webuitest"
)

func TestGuard(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("api " + r.Method)) })
	refusals := NewRefusals()
	handler, err := Handler(map[string]http.Handler{"/api/v1/": api}, []string{"boot.example"}, refusals)
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
	if got, want := refusals.Counts(), map[string]int64{"403": 2, "405": 1, "421": 1}; !maps.Equal(got, want) {
		t.Errorf("counted are %v; want %v", got, want)
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

// connect connects to a server whose API is the handler, in a bubble; end ends both.
func connect(t *testing.T, config *tls.Config, handler http.Handler) (conn net.Conn, refusals *Refusals, end func()) {
	t.Helper()
	refusals = NewRefusals()
	all, err := Handler(map[string]http.Handler{"/api/v1/": handler}, nil, refusals)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l, done := make(webuitest.Wires), make(chan error)
	go func() { done <- Serve(ctx, l, config, all, refusals, slog.New(slog.DiscardHandler)) }()
	conn = l.Dial()
	return conn, refusals, func() {
		conn.Close()
		synctest.Wait() // what it has to say of that
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Who asks and does not take the answer holds neither a connection nor a handler.
func TestAnswerThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		conn, refusals, end := connect(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			begun := time.Now()
			for err := error(nil); err == nil; {
				_, err = w.Write(make([]byte, 1<<20))
			}
			took = time.Since(begun)
		}))
		io.WriteString(conn, "GET /api/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if took == 0 || took > time.Minute {
			t.Errorf("the handler ended after %v; want a minute at most", took)
		}
		end()
		if got, want := refusals.Counts(), map[string]int64{unfinished: 1}; !maps.Equal(got, want) {
			t.Errorf("counted are %v; want %v", got, want)
		}
	})
}

// Over TLS a handler knows that it is TLS: the cookie of a login then stays there.
// Who speaks none is refused.
func TestTLS(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	certificate.Close()
	for _, c := range []struct {
		name    string
		speak   func(net.Conn) net.Conn
		answer  string
		counted map[string]int64
	}{
		{"TLS", func(conn net.Conn) net.Conn { return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) }, "HTTP/1.1 204 No Content", map[string]int64{}},
		{"no TLS", func(conn net.Conn) net.Conn { return conn }, "HTTP/1.0 400 Bad Request", map[string]int64{unfinished: 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, refusals, end := connect(t, &tls.Config{Certificates: certificate.TLS.Certificates}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.TLS == nil {
					t.Error("a request over TLS looks like one without")
				}
				w.WriteHeader(http.StatusNoContent)
			}))
			conn = c.speak(conn)
			go io.WriteString(conn, "GET /api/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
			answer, _ := bufio.NewReader(conn).ReadString('\n')
			if got := strings.TrimSpace(answer); got != c.answer {
				t.Errorf("%s: answered %q; want %q", c.name, got, c.answer)
			}
			end()
			if got := refusals.Counts(); !maps.Equal(got, c.counted) {
				t.Errorf("%s: counted are %v; want %v", c.name, got, c.counted)
			}
		})
	}
}

// TestSlowAndLargeRequests sends what no admin's program does. Each is cut or
// refused, and counted; who sends a letter a minute does not hold a connection.
func TestSlowAndLargeRequests(t *testing.T) {
	for _, c := range []struct {
		name    string
		send    string        // at once
		every   time.Duration // then a letter more, so often; 0: none
		answer  string        // first line; empty: it is cut
		counted string
	}{
		{"a request that never ends", "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", time.Second, "", unfinished},
		{"a connection that is not used", "", 0, "", ""},
		{"no HTTP", "\x16\x03\x01hello\r\n\r\n", 0, "HTTP/1.1 400 Bad Request", unfinished},
		{"a body that never ends", "POST /api/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n", time.Second, "HTTP/1.1 422 Unprocessable Entity", "422"},
		{"a large header", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<16) + "\r\n\r\n", 0, "HTTP/1.1 431 Request Header Fields Too Large", unfinished},
		{"a large body", "POST /api/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 2000000), 0, "HTTP/1.1 413 Request Entity Too Large", "413"},
	} {
		synctest.Test(t, func(t *testing.T) {
			reads := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				if _, large := errors.AsType[*http.MaxBytesError](err); large {
					w.WriteHeader(http.StatusRequestEntityTooLarge)
				} else if err != nil {
					w.WriteHeader(http.StatusUnprocessableEntity)
				}
			})
			mine, refusals, end := connect(t, nil, reads)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, err := io.WriteString(mine, c.send)
				for err == nil && c.every > 0 {
					time.Sleep(c.every)
					_, err = io.WriteString(mine, "x")
				}
			}()
			begun := time.Now()
			in := bufio.NewReader(mine)
			answer, _ := in.ReadString('\n')
			_, _ = io.Copy(io.Discard, in) // until it is cut
			if took := time.Since(begun); took > time.Minute || strings.TrimSpace(answer) != c.answer {
				t.Errorf("%s: answered %q, cut after %v; want %q within a minute", c.name, answer, took, c.answer)
			}
			end()
			<-sent
			want := map[string]int64{}
			if c.counted != "" {
				want[c.counted] = 1
			}
			if got := refusals.Counts(); !maps.Equal(got, want) {
				t.Errorf("%s: counted are %v; want %v", c.name, got, want)
			}
		})
	}
}
