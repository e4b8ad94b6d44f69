// Package mirror keeps a boot server's catalogue in step with its origin, a store
// that several boot servers share (package origin): it fetches the images that
// machines are to boot and that the catalogue lacks (here), and moves tags as they
// move at the origin (tags.go).
//
// bootserver.Server is its only user; what is behind the admin reads the status.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/origin"
)

// pullAgain is when an image that could not be had is asked for again.
const pullAgain = time.Minute

// OriginStatus is what the server fetches from its origin.
type OriginStatus struct {
	URL   string       `json:"url"`   // empty: there is no origin
	Pulls []PullStatus `json:"pulls"` // images that the catalogue lacks
	Tags  []TagStatus  `json:"tags"`  // that machines boot by
}

// PullStatus is an image that the catalogue lacks.
type PullStatus struct {
	Image   string `json:"image"`
	Bytes   int64  `json:"bytes"`             // that have come
	Of      int64  `json:"of"`                // 0 until that is known
	Problem string `json:"problem,omitempty"` // why the last try failed
}

func (p PullStatus) String() string {
	text := fmt.Sprintf("%d of %d MiB are here", p.Bytes>>20, p.Of>>20)
	if p.Problem != "" {
		text += ", and it is tried again: " + p.Problem
	}
	return text
}

// Config is what a Mirror works with.
type Config struct {
	Origin    *origin.Store
	Poll      time.Duration // how often the origin is asked where its tags stand
	Catalogue *catalogue.Catalogue
	Wanted    func() []images.Ref    // what machines are to boot, by name and version or by tag
	Pulled    func(*catalogue.Image) // is told of each image that has come
	SeenFile  string                 // where the origin's tags stood when it was last asked
	Log       *slog.Logger
}

// Mirror follows one origin.
type Mirror struct {
	Config
	lacking chan struct{} // holds a token when an image may have to be fetched

	mu    sync.Mutex
	pulls map[images.Ref]PullStatus // guarded by mu; what is fetched, or could not be
	tags  map[images.Ref]originTag  // guarded by mu; where the origin's stand
}

// New asks nobody yet; Run does.
func New(c Config) *Mirror {
	return &Mirror{Config: c, lacking: make(chan struct{}, 1), pulls: map[images.Ref]PullStatus{}, tags: map[images.Ref]originTag{}}
}

// Run fetches what is wanted and the catalogue lacks, one image after the other, at
// the beginning and whenever Look says so; and follows tags, whenever it is time to
// and when one has come. It returns when ctx is done.
func (m *Mirror) Run(ctx context.Context) error {
	poll := time.NewTicker(m.Poll)
	defer poll.Stop()
	ask := true
	for {
		failed := false
		for _, ref := range m.Wanted() {
			if _, err := m.Catalogue.Get(ref); ctx.Err() == nil && errors.Is(err, catalogue.ErrNotFound) {
				_, err := m.pull(ctx, ref)
				failed, ask = failed || err != nil, ask || err == nil
			}
		}
		if ask {
			m.follow(ctx)
		}
		var again <-chan time.Time
		if failed {
			again = time.After(pullAgain)
		}
		select {
		case <-poll.C:
			ask = true
		case <-m.lacking:
			ask = false
		case <-again:
			ask = false
		case <-ctx.Done():
			return nil
		}
	}
}

// Look says that something may be wanted that is not there.
func (m *Mirror) Look() {
	select {
	case m.lacking <- struct{}{}:
	default:
	}
}

// Missing says why a wanted image is not there yet, and has it fetched; for another
// it returns err.
func (m *Mirror) Missing(ref images.Ref, err error) error {
	if !slices.Contains(m.Wanted(), ref) {
		return err
	}
	m.Look()
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Errorf("image %s is being fetched from %s: %s", ref, m.Origin, m.pulls[ref])
}

// Status tells what is fetched, and which tags are followed.
func (m *Mirror) Status() OriginStatus {
	wanted := m.Wanted()
	m.mu.Lock()
	defer m.mu.Unlock()
	status := OriginStatus{URL: m.Origin.String(), Pulls: []PullStatus{}, Tags: []TagStatus{}}
	for _, ref := range wanted {
		if p, ok := m.pulls[ref]; ok {
			status.Pulls = append(status.Pulls, p)
		}
		if t, ok := m.tags[ref]; ok {
			if here, err := m.Catalogue.Get(ref); err == nil {
				status.Tags = append(status.Tags, t.status(ref, here))
			}
		}
	}
	return status
}

func (m *Mirror) pull(ctx context.Context, ref images.Ref) (*catalogue.Image, error) {
	log, begun := m.Log.With("image", ref.String()), time.Now()
	log.Info("image is fetched from the origin", "origin", m.Origin.String())
	image, err := m.Origin.Pull(ctx, m.Catalogue, ref, func(done, total int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.pulls[ref] = PullStatus{Image: ref.String(), Bytes: done, Of: total}
	})
	m.mu.Lock()
	last := m.pulls[ref]
	delete(m.pulls, ref)
	if err != nil && ctx.Err() == nil {
		m.pulls[ref] = PullStatus{Image: ref.String(), Bytes: last.Bytes, Of: last.Of, Problem: err.Error()}
	}
	m.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			log.Error("image could not be fetched; it is tried again", "after", pullAgain, "err", err)
		}
		return nil, err
	}
	log.Info("image fetched", "digest", image.Digest, "seconds", time.Since(begun).Seconds())
	m.Pulled(image)
	return image, nil
}
