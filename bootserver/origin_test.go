package bootserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/catalogue/cataloguetest"
	"swarmboot/images/origin"
)

// newOrigin is a lab whose machines boot lab@2, which only a web server has.
func newOrigin(t *testing.T) (l lab, lab2 images.Ref) {
	t.Helper()
	l, lab2 = newLab(t), images.Ref{Name: "lab", Version: "2"}
	elsewhere := cataloguetest.Open(t, filepath.Join(t.TempDir(), "elsewhere"), l.key)
	cataloguetest.Add(t, elsewhere, l.key, lab2.String(), []byte("the root of lab@2"))
	web := httptest.NewServer(http.FileServer(http.Dir(elsewhere.Dir())))
	t.Cleanup(web.Close)
	l.Origin = origin.Config{URL: web.URL}
	for i := range l.Machines {
		l.Machines[i].Image = lab2
	}
	return l, lab2
}

func TestMachineWaitsForTheOrigin(t *testing.T) {
	l, lab2 := newOrigin(t)
	s := l.new(t)
	if _, err := s.offer(lab2); err == nil || !strings.Contains(err.Error(), "being fetched") {
		t.Errorf("offer() before it has come = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.mirror.Run(ctx) }()
	select {
	case <-s.verify: // it has come
	case <-ctx.Done():
		t.Fatalf("it has not come; %+v", s.Origin())
	}
	if _, err := s.catalogue.Get(lab2); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
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
