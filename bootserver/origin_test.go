package bootserver

import (
	"context"
	"errors"
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
)

var lab2 = images.Ref{Name: "lab", Version: "2"}

// newOrigin is a lab whose machines boot lab@2, which only a web server has. The
// server answers nothing while away is set.
func newOrigin(t *testing.T) (l lab, away *atomic.Bool) {
	t.Helper()
	l, _, away = newOriginOf(t, lab2)
	return l, away
}

// newOriginOf is newOrigin for machines that boot another image of elsewhere's.
func newOriginOf(t *testing.T, boots images.Ref) (l lab, elsewhere *catalogue.Catalogue, away *atomic.Bool) {
	t.Helper()
	l, away = newLab(t), new(atomic.Bool)
	elsewhere = cataloguetest.Open(t, filepath.Join(t.TempDir(), "elsewhere"), l.key)
	cataloguetest.Add(t, elsewhere, l.key, lab2.String(), []byte("the root of lab@2"))
	files := http.FileServer(http.Dir(elsewhere.Dir()))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	l.Origin = origin.Config{URL: web.URL}
	for i := range l.Machines {
		l.Machines[i].Image = boots
	}
	return l, elsewhere, away
}

// A tag moves with the origin's, but for one that was moved here: that goes on with
// the origin's next move. A restart is no move.
func TestTagMovesWithTheOrigins(t *testing.T) {
	stable, lab3 := images.Ref{Name: "lab", Version: "stable"}, images.Ref{Name: "lab", Version: "3"}
	l, elsewhere, away := newOriginOf(t, stable)
	cataloguetest.Add(t, elsewhere, l.key, lab3.String(), []byte("the root of lab@3"))
	tag := func(c *catalogue.Catalogue, to images.Ref) {
		t.Helper()
		if _, err := c.Tag(t.Context(), stable, to); err != nil {
			t.Fatal(err)
		}
	}
	tag(elsewhere, lab2)
	s := l.new(t)
	if _, err := s.pullImage(t.Context(), stable); err != nil {
		t.Fatal(err)
	}
	is := func(when string, want images.Ref, same bool, problem string) {
		t.Helper()
		s.follow(t.Context())
		image, err := s.catalogue.Get(stable)
		if err != nil || image.Manifest.Ref() != want {
			t.Fatalf("%s it is %v (%v); want %s", when, image, err, want)
		}
		tags := s.Origin().Tags
		if len(tags) != 1 || tags[0].Image != want.String() || tags[0].Same != same || !strings.Contains(tags[0].Problem, problem) || problem == "" && tags[0].Problem != "" {
			t.Errorf("%s the status is %+v", when, tags)
		}
	}
	is("at first", lab2, true, "")
	tag(elsewhere, lab3)
	away.Store(true)
	is("while the origin is away", lab2, true, "403")
	away.Store(false)
	is("when it has moved there", lab3, true, "")
	tag(s.catalogue, lab2)
	is("when it was moved here", lab2, false, "")
	s.leases.Close()
	s = l.new(t)
	is("after a restart", lab2, false, "")
	tag(elsewhere, lab2)
	is("when it stands there as here", lab2, true, "")
	tag(elsewhere, lab3)
	is("when it has moved there again", lab3, true, "")
}

// Of a tag that the origin has never been asked for, nobody knows who has moved it.
func TestTagThatWasHereBefore(t *testing.T) {
	l, elsewhere, _ := newOriginOf(t, images.Ref{Name: "lab", Version: "stable"})
	stable := l.Machines[0].Image
	if _, err := elsewhere.Tag(t.Context(), stable, lab2); err != nil {
		t.Fatal(err)
	}
	if _, err := l.images.Tag(t.Context(), stable, l.image.Manifest.Ref()); err != nil {
		t.Fatal(err)
	}
	s := l.new(t)
	s.follow(t.Context())
	if image, err := s.catalogue.Get(stable); err != nil || image.Digest != l.image.Digest {
		t.Errorf("it is %v (%v); want it left alone", image, err)
	}
	if tags := s.Origin().Tags; len(tags) != 1 || tags[0].Same {
		t.Errorf("the status is %+v; want it told", tags)
	}
}

func TestImageComesFromTheOrigin(t *testing.T) {
	l, _ := newOrigin(t)
	s := l.new(t)
	if _, err := s.offer(lab2); err == nil || !strings.Contains(err.Error(), "being fetched") {
		t.Errorf("offer() before it has come = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.pull(ctx) }()
	select {
	case <-s.verify: // it has come
	case <-ctx.Done():
		t.Fatalf("it has not come; %+v", s.Origin())
	}
	if image, err := s.catalogue.Get(lab2); err != nil {
		t.Error(err)
	} else if err := image.VerifyAll(t.Context()); err != nil {
		t.Error(err)
	}
	if status := s.Origin(); status.URL != l.Origin.URL || len(status.Pulls) != 0 {
		t.Errorf("Origin() = %+v; want nothing to be fetched", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOriginThatDoesNotAnswer(t *testing.T) {
	l, away := newOrigin(t)
	away.Store(true)
	s := l.new(t) // other machines must boot
	if _, err := s.pullImage(t.Context(), lab2); err == nil {
		t.Error("an image came from nowhere")
	}
	if status := s.Origin(); len(status.Pulls) != 1 || !strings.Contains(status.Pulls[0].Problem, "403") {
		t.Errorf("Origin() = %+v; want the reason", status)
	}
	if _, err := s.offer(lab2); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a machine is told %v; want the reason", err)
	}
	away.Store(false)
	if _, err := s.pullImage(t.Context(), lab2); err != nil || len(s.Origin().Pulls) != 0 {
		t.Errorf("once it answers: %v, %+v", err, s.Origin())
	}
}

func TestImageThatNobodyHas(t *testing.T) {
	l, _ := newOrigin(t)
	s := l.new(t)
	wrong := l.Config
	wrong.Machines = append([]Machine{}, l.Machines...)
	wrong.Machines[0].Image = images.Ref{Name: "lab", Version: "99"}
	if err := s.Reload(wrong); !errors.Is(err, catalogue.ErrNotFound) || !strings.Contains(err.Error(), l.Origin.URL) {
		t.Errorf("Reload() with an image that nobody has = %v", err)
	}
}
