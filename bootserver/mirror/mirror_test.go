package mirror

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/catalogue/cataloguetest"
	"swarmboot/images/origin"
	"swarmboot/initramfs/envelope"
)

var (
	lab1   = images.Ref{Name: "lab", Version: "1"}
	lab2   = images.Ref{Name: "lab", Version: "2"}
	lab3   = images.Ref{Name: "lab", Version: "3"}
	stable = images.Ref{Name: "lab", Version: "stable"}
)

// A world is a catalogue with lab@1, and another behind a web server with lab@2 and
// lab@3, which answers nothing while away is set.
type world struct {
	t         *testing.T
	key       envelope.PrivateKey
	here      *catalogue.Catalogue
	elsewhere *catalogue.Catalogue
	away      atomic.Bool
	url       string
	seen      string
	pulled    chan *catalogue.Image
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, seen: filepath.Join(t.TempDir(), "seen"), pulled: make(chan *catalogue.Image, 10)}
	w.here, w.key = cataloguetest.New(t)
	w.elsewhere = cataloguetest.Open(t, t.TempDir(), w.key)
	cataloguetest.Add(t, w.here, w.key, lab1.String(), []byte("the root of lab@1"))
	cataloguetest.Add(t, w.elsewhere, w.key, lab2.String(), []byte("the root of lab@2"))
	cataloguetest.Add(t, w.elsewhere, w.key, lab3.String(), []byte("the root of lab@3"))
	files := http.FileServer(http.Dir(w.elsewhere.Dir()))
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.away.Load() {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		files.ServeHTTP(rw, r)
	}))
	t.Cleanup(web.Close)
	w.url = web.URL
	return w
}

// mirror is that of a server whose machines boot wanted.
func (w *world) mirror(wanted images.Ref) *Mirror {
	w.t.Helper()
	store, err := origin.Open(origin.Config{URL: w.url})
	if err != nil {
		w.t.Fatal(err)
	}
	return New(Config{
		Origin: store, Poll: time.Hour, Catalogue: w.here, SeenFile: w.seen,
		Wanted: func() []images.Ref { return []images.Ref{wanted} }, Pulled: func(i *catalogue.Image) { w.pulled <- i },
		Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
}

// tag has lab@stable stand for another image.
func (w *world) tag(c *catalogue.Catalogue, to images.Ref) {
	w.t.Helper()
	if _, err := c.Tag(w.t.Context(), stable, to); err != nil {
		w.t.Fatal(err)
	}
}

// A tag moves with the origin's, but for one that was moved here: that goes on with
// the origin's next move. A restart is no move.
func TestTagMovesWithTheOrigins(t *testing.T) {
	w := newWorld(t)
	w.tag(w.elsewhere, lab2)
	m := w.mirror(stable)
	if _, err := m.pull(t.Context(), stable); err != nil {
		t.Fatal(err)
	}
	is := func(when string, want images.Ref, same bool, problem string) {
		t.Helper()
		m.follow(t.Context())
		image, err := w.here.Get(stable)
		if err != nil || image.Manifest.Ref() != want {
			t.Fatalf("%s it is %v (%v); want %s", when, image, err, want)
		}
		tags := m.Status().Tags
		if len(tags) != 1 || tags[0].Image != want.String() || tags[0].Same != same || !strings.Contains(tags[0].Problem, problem) || problem == "" && tags[0].Problem != "" {
			t.Errorf("%s the status is %+v", when, tags)
		}
	}
	is("at first", lab2, true, "")
	w.tag(w.elsewhere, lab3)
	w.away.Store(true)
	is("while the origin is away", lab2, true, "403")
	w.away.Store(false)
	is("when it has moved there", lab3, true, "")
	w.tag(w.here, lab2)
	is("when it was moved here", lab2, false, "")
	m = w.mirror(stable)
	is("after a restart", lab2, false, "")
	w.tag(w.elsewhere, lab2)
	is("when it stands there as here", lab2, true, "")
	w.tag(w.elsewhere, lab3)
	is("when it has moved there again", lab3, true, "")
}

// Of a tag that the origin has never been asked for, nobody knows who has moved it.
func TestTagThatWasHereBefore(t *testing.T) {
	w := newWorld(t)
	w.tag(w.elsewhere, lab2)
	w.tag(w.here, lab1)
	m := w.mirror(stable)
	m.follow(t.Context())
	if image, err := w.here.Get(stable); err != nil || image.Manifest.Ref() != lab1 {
		t.Errorf("it is %v (%v); want it left alone", image, err)
	}
	if tags := m.Status().Tags; len(tags) != 1 || tags[0].Same {
		t.Errorf("the status is %+v; want it told", tags)
	}
}

func TestImageComesFromTheOrigin(t *testing.T) {
	w := newWorld(t)
	m := w.mirror(lab2)
	if err := m.Missing(lab2, catalogue.ErrNotFound); !strings.Contains(err.Error(), "being fetched") {
		t.Errorf("Missing() before it has come = %v", err)
	}
	if err := m.Missing(lab3, catalogue.ErrNotFound); !errors.Is(err, catalogue.ErrNotFound) {
		t.Errorf("Missing() of what nobody boots = %v; want what it was told", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	select {
	case image := <-w.pulled:
		if image.Manifest.Ref() != lab2 {
			t.Errorf("%s has come; want %s", image.Manifest.Ref(), lab2)
		}
	case <-ctx.Done():
		t.Fatalf("it has not come; %+v", m.Status())
	}
	if image, err := w.here.Get(lab2); err != nil {
		t.Error(err)
	} else if err := image.VerifyAll(t.Context()); err != nil {
		t.Error(err)
	}
	if status := m.Status(); status.URL != w.url || len(status.Pulls) != 0 {
		t.Errorf("Status() = %+v; want nothing to be fetched", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOriginThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	w.away.Store(true)
	m := w.mirror(lab2)
	if _, err := m.pull(t.Context(), lab2); err == nil {
		t.Error("an image came from nowhere")
	}
	if status := m.Status(); len(status.Pulls) != 1 || !strings.Contains(status.Pulls[0].Problem, "403") {
		t.Errorf("Status() = %+v; want the reason", status)
	}
	if err := m.Missing(lab2, catalogue.ErrNotFound); !strings.Contains(err.Error(), "403") {
		t.Errorf("a machine is told %v; want the reason", err)
	}
	w.away.Store(false)
	if _, err := m.pull(t.Context(), lab2); err != nil || len(m.Status().Pulls) != 0 {
		t.Errorf("once it answers: %v, %+v", err, m.Status())
	}
}
