package webui

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

// unfinished is what Refusals calls connections that were cut before a request
// had come or its answer had gone: those of clients that are too slow, or speak no
// HTTP.
const unfinished = "unfinished"

// Refusals counts what was refused on the admin's listener, by the status of the
// answer.
type Refusals struct {
	mu    sync.Mutex
	by    map[string]int64    // guarded by mu, as is conns
	conns map[net.Conn]*visit // that are open
}

// A visit is one connection.
type visit struct {
	begun bool        // something has come; guarded by the mu of Refusals
	asked atomic.Bool // a whole request has come
}

// NewRefusals returns one that has counted none.
func NewRefusals() *Refusals {
	return &Refusals{by: map[string]int64{}, conns: map[net.Conn]*visit{}}
}

// Counts are the refusals so far.
func (r *Refusals) Counts() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.by)
}

func (r *Refusals) add(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by[why]++
}

type visitKey struct{}

// opened notes a connection.
func (r *Refusals) opened(ctx context.Context, conn net.Conn) context.Context {
	v := new(visit)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[conn] = v
	return context.WithValue(ctx, visitKey{}, v)
}

// changed counts a connection that ends in the middle of its first request, or of
// the handshake before, but none that was never used: browsers open some of those.
func (r *Refusals) changed(conn net.Conn, now http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch v := r.conns[conn]; {
	case v == nil:
	case now == http.StateActive:
		v.begun = true
	case now == http.StateClosed || now == http.StateHijacked:
		secure, ok := conn.(*tls.Conn)
		if v.begun && !v.asked.Load() || ok && !secure.ConnectionState().HandshakeComplete {
			r.by[unfinished]++
		}
		delete(r.conns, conn)
	}
}

// count notes what next refuses.
func (r *Refusals) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if v, ok := req.Context().Value(visitKey{}).(*visit); ok {
			v.asked.Store(true)
		}
		answer := &answer{ResponseWriter: w}
		next.ServeHTTP(answer, req)
		if answer.status >= 400 {
			r.add(strconv.Itoa(answer.status))
		} else if answer.slow {
			r.add(unfinished)
		}
	})
}

// answer remembers its status, and whether the client was too slow to take it.
type answer struct {
	http.ResponseWriter
	status int
	slow   bool
}

func (a *answer) Write(data []byte) (int, error) {
	n, err := a.ResponseWriter.Write(data)
	a.note(err)
	return n, err
}

// Flush sends what was written: the next event of a stream.
func (a *answer) Flush() {
	a.note(http.NewResponseController(a.ResponseWriter).Flush())
}

func (a *answer) note(err error) {
	a.slow = a.slow || errors.Is(err, os.ErrDeadlineExceeded)
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
