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
	l, away = newLab(t), new(atomic.Bool)
	elsewhere := cataloguetest.Open(t, filepath.Join(t.TempDir(), "elsewhere"), l.key)
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
		l.Machines[i].Image = lab2
	}
	return l, away
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
	if err := s.pullImage(t.Context(), lab2); err == nil {
		t.Error("an image came from nowhere")
	}
	if status := s.Origin(); len(status.Pulls) != 1 || !strings.Contains(status.Pulls[0].Problem, "403") {
		t.Errorf("Origin() = %+v; want the reason", status)
	}
	if _, err := s.offer(lab2); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a machine is told %v; want the reason", err)
	}
	away.Store(false)
	if err := s.pullImage(t.Context(), lab2); err != nil || len(s.Origin().Pulls) != 0 {
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
