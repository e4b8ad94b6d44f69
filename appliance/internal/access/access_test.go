package access

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newGate(t *testing.T) (*Gate, http.Handler, *strings.Builder) {
	var log strings.Builder
	g := NewGate(Tokens(filepath.Join(t.TempDir(), "tokens.json")), slog.New(slog.NewTextHandler(&log, nil)))
	mux := http.NewServeMux()
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) })
	mux.Handle("/api/", g.Require(ok, Read))
	mux.Handle("/metrics", g.Require(ok, Read, Metrics))
	mux.HandleFunc("POST /login", g.Login)
	mux.HandleFunc("POST /logout", g.Logout)
	return g, mux, &log
}

func ask(handler http.Handler, method, path string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func bearer(secret string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
}

func form(secret string) func(*http.Request) {
	return func(r *http.Request) { r.PostForm = url.Values{"token": {secret}} }
}

func TestTokensOpenTheirScope(t *testing.T) {
	g, handler, _ := newGate(t)
	reader, err := g.tokens.New("anna", Read, 0)
	if err != nil {
		t.Fatal(err)
	}
	scraper, err := g.tokens.New("prometheus", Metrics, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, secret string
		code         int
	}{
		{"/api/x", reader, 200}, {"/metrics", reader, 200}, {"/api/x", scraper, 403}, {"/metrics", scraper, 200},
		{"/api/x", "", 401}, {"/api/x", "swarmboot_WRONG", 401},
	} {
		if w := ask(handler, "GET", c.path, bearer(c.secret)); w.Code != c.code {
			t.Errorf("GET %s with %.14s = %d; want %d", c.path, c.secret, w.Code, c.code)
		}
	}
	if w := ask(handler, "GET", "/api/x", nil); w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("GET without a token = %d %v", w.Code, w.Header())
	}
	if data, _ := os.ReadFile(string(g.tokens)); strings.Contains(string(data), reader) {
		t.Error("the secret stands in the file")
	}
	if info, err := os.Stat(string(g.tokens)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info.Mode(), err)
	}
	if err := g.tokens.Revoke("anna"); err != nil {
		t.Fatal(err)
	}
	if w := ask(handler, "GET", "/api/x", bearer(reader)); w.Code != 401 {
		t.Errorf("GET with a revoked token = %d; want 401", w.Code)
	}
}

func TestLogin(t *testing.T) {
	g, handler, log := newGate(t)
	secret, _ := g.tokens.New("anna", Read, 0)
	scraper, _ := g.tokens.New("prometheus", Metrics, 0)
	if w := ask(handler, "POST", "/login", form("wrong")); w.Code != 401 {
		t.Errorf("login with a wrong token = %d", w.Code)
	}
	if w := ask(handler, "POST", "/login", form(scraper)); w.Code != 403 {
		t.Errorf("login with a token for metrics = %d", w.Code)
	}
	w := ask(handler, "POST", "/login", form(" "+secret+"\n"))
	if w.Code != 204 {
		t.Fatalf("login = %d %s", w.Code, w.Body)
	}
	cookie := w.Result().Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
		t.Errorf("cookie = %+v; want one out of reach", cookie)
	}
	in := func(r *http.Request) { r.AddCookie(cookie) }
	if w := ask(handler, "GET", "/api/x", in); w.Code != 200 {
		t.Errorf("GET after login = %d", w.Code)
	}
	ask(handler, "POST", "/logout", in)
	if w := ask(handler, "GET", "/api/x", in); w.Code != 401 {
		t.Errorf("GET after logout = %d", w.Code)
	}
	for _, want := range []string{`msg="admin refused" audit=true`, `msg="admin logged in" audit=true admin=anna`, `msg="admin logged out" audit=true admin=anna`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the secret stands in the log")
	}
}

func TestSessionsEnd(t *testing.T) {
	g, handler, _ := newGate(t)
	synctest.Test(t, func(t *testing.T) {
		secret, _ := g.tokens.New("anna", Read, 20*time.Hour)
		login := func() func(*http.Request) {
			cookie := ask(handler, "POST", "/login", form(secret)).Result().Cookies()[0]
			return func(r *http.Request) { r.AddCookie(cookie) }
		}
		in := login()
		time.Sleep(sessionTime + time.Second)
		if w := ask(handler, "GET", "/api/x", in); w.Code != 401 {
			t.Errorf("GET after %v = %d; want 401", sessionTime, w.Code)
		}
		in = login()
		time.Sleep(9 * time.Hour)
		if w := ask(handler, "GET", "/api/x", in); w.Code != 401 {
			t.Errorf("GET after the token has expired = %d; want 401", w.Code)
		}
	})
}

// A session ends with the token that began it, also if another has its name now.
func TestSessionsEndWithTheirToken(t *testing.T) {
	g, handler, _ := newGate(t)
	secret, _ := g.tokens.New("anna", Read, 0)
	cookie := ask(handler, "POST", "/login", form(secret)).Result().Cookies()[0]
	if err := g.tokens.Revoke("anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.tokens.New("anna", Write, 0); err != nil {
		t.Fatal(err)
	}
	if w := ask(handler, "GET", "/api/x", func(r *http.Request) { r.AddCookie(cookie) }); w.Code != 401 {
		t.Errorf("GET after the token was revoked = %d; want 401", w.Code)
	}
}

// A stream of events is asked for once and may last for days.
func TestStreamsEndWithWhatOpenedThem(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(g *Gate, handler http.Handler, cookie func(*http.Request))
		lost bool
	}{
		{"nothing happens", func(*Gate, http.Handler, func(*http.Request)) {}, false},
		{"the token is revoked", func(g *Gate, _ http.Handler, _ func(*http.Request)) { g.tokens.Revoke("anna") }, true},
		{"the login ends", func(_ *Gate, handler http.Handler, cookie func(*http.Request)) {
			ask(handler, "POST", "/logout", cookie)
		}, true},
		{"the login expires", func(*Gate, http.Handler, func(*http.Request)) { time.Sleep(sessionTime) }, true},
	} {
		g, handler, _ := newGate(t)
		synctest.Test(t, func(t *testing.T) {
			secret, _ := g.tokens.New("anna", Read, 0)
			login := ask(handler, "POST", "/login", form(secret)).Result().Cookies()[0]
			cookie := func(r *http.Request) { r.AddCookie(login) }
			ended := false
			stream := g.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				ended = true
			}), Read)
			ctx, leave := context.WithCancel(t.Context())
			go ask(stream, "GET", "/api/events", func(r *http.Request) {
				*r = *r.WithContext(ctx)
				cookie(r)
			})
			time.Sleep(time.Hour)
			synctest.Wait()
			if ended {
				t.Errorf("%s: the stream has ended before", c.name)
			}
			c.end(g, handler, cookie)
			time.Sleep(askAgain)
			synctest.Wait()
			if ended != c.lost {
				t.Errorf("%s: the stream has ended: %v; want %v", c.name, ended, c.lost)
			}
			leave()
		})
	}
}

func TestGuessingIsSlow(t *testing.T) {
	g, handler, _ := newGate(t)
	secret, _ := g.tokens.New("anna", Read, 0)
	synctest.Test(t, func(t *testing.T) {
		for range wrongAtOnce {
			ask(handler, "POST", "/login", form("guess"))
		}
		if w := ask(handler, "POST", "/login", form("guess")); w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("one guess too many = %d", w.Code)
		}
		if w := ask(handler, "POST", "/login", form(secret)); w.Code != 204 {
			t.Errorf("a right token after wrong ones = %d; want 204", w.Code)
		}
		time.Sleep(wrongEvery)
		if w := ask(handler, "POST", "/login", form("guess")); w.Code != 401 {
			t.Errorf("a guess after %v = %d; want 401", wrongEvery, w.Code)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	tokens := Tokens(filepath.Join(t.TempDir(), "tokens.json"))
	if _, err := tokens.New("anna", Read, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		scope Scope
		life  time.Duration
	}{{"anna", Read, 0}, {"", Read, 0}, {"a b", Read, 0}, {"otto", "all", 0}, {"otto", Read, -time.Hour}} {
		if _, err := tokens.New(c.name, c.scope, c.life); err == nil {
			t.Errorf("New(%q, %q, %v) made a token", c.name, c.scope, c.life)
		}
	}
	if err := tokens.Revoke("otto"); err == nil {
		t.Error("Revoke of no token")
	}
}

func TestManyCommandsAtOnce(t *testing.T) {
	tokens := Tokens(filepath.Join(t.TempDir(), "tokens.json"))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := tokens.New(string(rune('a'+i)), Read, 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := tokens.List(); err != nil || len(all) != 20 {
		t.Errorf("%d tokens, %v; want 20", len(all), err)
	}
}

func TestOwnCertificate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys", "admin.pem")
	first, err := OwnCertificate(file, netip.MustParseAddr("10.77.0.1"), []string{"boot.example"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(first.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"10.77.0.1", "boot.example", "localhost"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	again, err := OwnCertificate(file, netip.MustParseAddr("10.77.0.1"), nil)
	if err != nil || Fingerprint(again) != Fingerprint(first) {
		t.Errorf("a second start has certificate %s, %v; want that of the first", Fingerprint(again), err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestChangesWantAScopeOfTheirOwn(t *testing.T) {
	g, _, log := newGate(t)
	reader, _ := g.tokens.New("anna", Read, 0)
	writer, err := g.tokens.New("otto", Write, 0)
	if err != nil {
		t.Fatal(err)
	}
	scraper, _ := g.tokens.New("prometheus", Metrics, 0)
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(By(r.Context()).Name)) })
	free, closed := g.Protect(who, true), g.Protect(who, false)
	for _, c := range []struct {
		name           string
		gate           http.Handler
		method, secret string
		code           int
		by             string
	}{
		{"whoever is on this computer looks", free, "GET", "", 200, ""},
		{"and changes nothing", free, "POST", "", 401, ""},
		{"a reader neither", free, "DELETE", reader, 403, ""},
		{"a writer does", free, "PUT", writer, 200, "otto"},
		{"from elsewhere nobody looks", closed, "GET", "", 401, ""},
		{"but a reader", closed, "GET", reader, 200, "anna"},
		{"and a writer", closed, "HEAD", writer, 200, "otto"},
		{"a reader changes nothing", closed, "POST", reader, 403, ""},
		{"a scraper looks at nothing here", closed, "GET", scraper, 403, ""},
		{"a writer changes", closed, "POST", writer, 200, "otto"},
		{"an odd method is a change", closed, "BREW", reader, 403, ""},
	} {
		edit := bearer(c.secret)
		if c.secret == "" {
			edit = nil
		}
		w := ask(c.gate, c.method, "/api/x", edit)
		if w.Code != c.code || w.Code == 200 && w.Body.String() != c.by {
			t.Errorf("%s: %d %s; want %d %s", c.name, w.Code, w.Body, c.code, c.by)
		}
	}
	if want := `msg="admin refused" audit=true admin=anna`; !strings.Contains(log.String(), want) {
		t.Errorf("log lacks %s:\n%s", want, log)
	}
}
