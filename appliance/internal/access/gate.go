package access

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	cookieName  = "swarmboot_session"
	sessionTime = 12 * time.Hour
	maxSessions = 4096 // more are made-up
	// Wrong tokens that one address may send: a few at once, then one in ten
	// seconds.
	wrongAtOnce = 5
	wrongEvery  = 10 * time.Second
	// A stream of events may last longer than its follower's token or login, which
	// is asked for again so often.
	askAgain = time.Minute
)

// A Gate asks who comes for a token or for the cookie of a login.
type Gate struct {
	tokens Tokens
	log    *slog.Logger

	mu       sync.Mutex
	sessions map[string]session       // guarded by mu; by the hash of the cookie
	wrong    map[string]*rate.Limiter // guarded by mu; by address
}

type session struct {
	token Token
	ends  time.Time
}

// NewGate returns a gate for the holders of tokens.
func NewGate(tokens Tokens, log *slog.Logger) *Gate {
	return &Gate{tokens: tokens, log: log, sessions: map[string]session{}, wrong: map[string]*rate.Limiter{}}
}

// Require lets a request to next if it comes from a holder of a token with one
// of scopes, and tells next who that is (By).
func (g *Gate) Require(next http.Handler, scopes ...Scope) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := g.holder(w, r)
		if !ok {
			return
		}
		if !slices.Contains(scopes, token.Scope) {
			g.log.Warn("admin refused", "audit", true, "admin", token.Name, "peer", r.RemoteAddr, "err", r.Method+" "+r.URL.Path+" is not for scope "+string(token.Scope))
			http.Error(w, "token "+token.Name+" does not open this: its scope is "+string(token.Scope)+", and it takes "+string(scopes[0]), http.StatusForbidden)
			return
		}
		ctx, stop := g.watch(WithAdmin(r.Context(), Admin{token.Name, r.RemoteAddr}), r)
		defer stop()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Protect lets a request that changes something to next only from a token that
// may write. One that only looks is let through from anybody if looking is free,
// else from a token that may read.
func (g *Gate) Protect(next http.Handler, free bool) http.Handler {
	changes, looks := g.Require(next, Write), next
	if !free {
		looks = g.Require(next, Read, Write)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			looks.ServeHTTP(w, r)
			return
		}
		changes.ServeHTTP(w, r)
	})
}

// An Admin is who asks for a change.
type Admin struct {
	Name string // of the token, or of the user on this computer
	Peer string // address that it comes from
}

type adminKey struct{}

// WithAdmin notes who asks.
func WithAdmin(ctx context.Context, a Admin) context.Context {
	return context.WithValue(ctx, adminKey{}, a)
}

// By tells who asks; where nobody had to say it, the zero Admin.
func By(ctx context.Context) Admin {
	a, _ := ctx.Value(adminKey{}).(Admin)
	return a
}

// holder finds out who asks. If that is nobody, it has answered.
func (g *Gate) holder(w http.ResponseWriter, r *http.Request) (Token, bool) {
	now := time.Now()
	if secret, ok := secretOf(r); ok {
		return g.check(w, r, secret, now)
	}
	if token, ok, err := g.loggedIn(r, now); err == nil && ok {
		return token, true
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	http.Error(w, "who are you? Log in, or send a token (swarmboot token new)", http.StatusUnauthorized)
	return Token{}, false
}

// watch gives a context that ends soon after who asks would be refused.
func (g *Gate) watch(ctx context.Context, r *http.Request) (watched context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		tick := time.NewTicker(askAgain)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if !g.knows(r, now) {
					return
				}
			}
		}
	})
	return ctx, func() { cancel(); watching.Wait() }
}

// knows tells whether who asks is still let in.
func (g *Gate) knows(r *http.Request, now time.Time) bool {
	_, ok, err := g.loggedIn(r, now)
	if secret, given := secretOf(r); given {
		_, ok, err = g.owner(secret, now)
	}
	return err == nil && ok
}

// secretOf is the secret that a program sends.
func secretOf(r *http.Request) (secret string, ok bool) {
	return strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// loggedIn is the token of the login that the cookie of a browser stands for.
func (g *Gate) loggedIn(r *http.Request, now time.Time) (Token, bool, error) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return Token{}, false, nil
	}
	g.mu.Lock()
	s, ok := g.sessions[hash(cookie.Value)]
	g.mu.Unlock()
	if !ok || now.After(s.ends) {
		return Token{}, false, nil
	}
	return g.tokens.find(func(t Token) bool { return t.SHA256 == s.token.SHA256 }, now)
}

// owner is the token with that secret.
func (g *Gate) owner(secret string, now time.Time) (Token, bool, error) {
	sum := hash(strings.TrimSpace(secret))
	return g.tokens.find(func(t Token) bool { return t.SHA256 == sum }, now)
}

// check looks whose secret it is. Whoever guesses has to wait; who knows a
// secret need not, also not behind the address of one who guesses.
func (g *Gate) check(w http.ResponseWriter, r *http.Request, secret string, now time.Time) (Token, bool) {
	token, ok, err := g.owner(secret, now)
	switch {
	case err != nil:
		g.log.Error("tokens cannot be read", "err", err)
		http.Error(w, "the server cannot read its tokens; its log tells why", http.StatusInternalServerError)
	case ok:
		return token, true
	case !g.mayGuess(host(r), now):
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many wrong tokens; wait a little", http.StatusTooManyRequests)
	default:
		g.log.Warn("admin refused", "audit", true, "peer", r.RemoteAddr, "err", "wrong or expired token")
		http.Error(w, "this token is wrong, or it has expired or was revoked", http.StatusUnauthorized)
	}
	return Token{}, false
}

func (g *Gate) mayGuess(address string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.wrong) > maxSessions {
		clear(g.wrong)
	}
	if g.wrong[address] == nil {
		g.wrong[address] = rate.NewLimiter(rate.Every(wrongEvery), wrongAtOnce)
	}
	return g.wrong[address].AllowN(now, 1)
}

// Login takes the form of the page with a token and answers with a cookie.
func (g *Gate) Login(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	token, ok := g.check(w, r, r.PostFormValue("token"), now)
	if !ok {
		return
	}
	if token.Scope != Read && token.Scope != Write {
		http.Error(w, "token "+token.Name+" is for "+string(token.Scope)+" alone; log in with one whose scope is read or write", http.StatusForbidden)
		return
	}
	value := rand.Text() + rand.Text()
	g.mu.Lock()
	for id, s := range g.sessions {
		if now.After(s.ends) {
			delete(g.sessions, id)
		}
	}
	if len(g.sessions) >= maxSessions {
		clear(g.sessions)
	}
	g.sessions[hash(value)] = session{token, now.Add(sessionTime)}
	g.mu.Unlock()
	g.log.Info("admin logged in", "audit", true, "admin", token.Name, "peer", r.RemoteAddr)
	http.SetCookie(w, cookie(r, value, int(sessionTime.Seconds())))
	w.WriteHeader(http.StatusNoContent)
}

// Logout ends the session of the request.
func (g *Gate) Logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		g.mu.Lock()
		s, ok := g.sessions[hash(c.Value)]
		delete(g.sessions, hash(c.Value))
		g.mu.Unlock()
		if ok {
			g.log.Info("admin logged out", "audit", true, "admin", s.token.Name, "peer", r.RemoteAddr)
		}
	}
	http.SetCookie(w, cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
}

// cookie is out of reach for scripts and for other sites.
func cookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode}
}

func host(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}
