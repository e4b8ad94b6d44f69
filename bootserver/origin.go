package bootserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/origin"
	"swarmboot/initramfs/envelope"
)

const (
	// originAnswers is how long the origin is asked whether it has what the
	// catalogue lacks. One that does not answer in time holds up no reload.
	originAnswers = 10 * time.Second

	// pullAgain is when an image that could not be had is asked for again.
	pullAgain = time.Minute
)

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

// Origin tells what is fetched, and which tags are followed.
func (s *Server) Origin() OriginStatus {
	status := OriginStatus{Pulls: []PullStatus{}, Tags: []TagStatus{}}
	if s.origin == nil {
		return status
	}
	status.URL = s.origin.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range s.site.Load().Images() {
		if p, ok := s.pulls[ref]; ok {
			status.Pulls = append(status.Pulls, p)
		}
	}
	status.Tags = append(status.Tags, s.tagStatus()...)
	return status
}

// CheckImages refuses a config with images that are neither in the catalogue,
// where find looks, nor at the origin: catalogue.ErrNotFound. Of those that an
// origin without an answer may have, unsure tells.
func CheckImages(ctx context.Context, c Config, trusted []envelope.PublicKey, find func(images.Ref) (*catalogue.Image, error)) (unsure, err error) {
	var unknown, missing []error
	var store *origin.Store
	if c.Origin.URL != "" {
		if store, err = origin.Open(c.Origin); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, originAnswers)
	defer cancel()
	for _, ref := range c.Images() {
		_, err := find(ref)
		if store != nil && errors.Is(err, catalogue.ErrNotFound) {
			if _, err = store.Find(ctx, trusted, ref); err != nil && !errors.Is(err, catalogue.ErrNotFound) {
				unknown = append(unknown, fmt.Errorf("image %s is not here yet: %w", ref, err))
			}
		}
		if errors.Is(err, catalogue.ErrNotFound) {
			missing = append(missing, err)
		}
	}
	return errors.Join(unknown...), errors.Join(missing...)
}

// haveImages refuses a config with images that are not to be had. One that is
// there and damaged is told when it is verified and to each machine that wants
// it; the others boot.
func (s *Server) haveImages(in *site) error {
	unsure, err := CheckImages(context.Background(), in.Config, s.catalogue.Trusted(), s.catalogue.Get)
	if unsure != nil {
		s.log.Warn("the origin does not say whether it has all images", "err", unsure)
	}
	return err
}

// pull fetches what the config names and the catalogue lacks, one image after the
// other, at the beginning and whenever missing says so; and follows tags
// (origintags.go), whenever it is time to and when one has come.
func (s *Server) pull(ctx context.Context) error {
	poll := time.NewTicker(s.site.Load().Origin.Poll)
	defer poll.Stop()
	ask := true
	for {
		failed := false
		for _, ref := range s.site.Load().Images() {
			if _, err := s.catalogue.Get(ref); ctx.Err() == nil && errors.Is(err, catalogue.ErrNotFound) {
				_, err := s.pullImage(ctx, ref)
				failed, ask = failed || err != nil, ask || err == nil
			}
		}
		if ask {
			s.follow(ctx)
		}
		var again <-chan time.Time
		if failed {
			again = time.After(pullAgain)
		}
		select {
		case <-poll.C:
			ask = true
		case <-s.lacking:
			ask = false
		case <-again:
			ask = false
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) pullImage(ctx context.Context, ref images.Ref) (*catalogue.Image, error) {
	log, begun := s.log.With("image", ref.String()), time.Now()
	log.Info("image is fetched from the origin", "origin", s.origin.String())
	image, err := s.origin.Pull(ctx, s.catalogue, ref, func(done, total int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pulls[ref] = PullStatus{Image: ref.String(), Bytes: done, Of: total}
	})
	s.mu.Lock()
	last := s.pulls[ref]
	delete(s.pulls, ref)
	if err != nil && ctx.Err() == nil {
		s.pulls[ref] = PullStatus{Image: ref.String(), Bytes: last.Bytes, Of: last.Of, Problem: err.Error()}
	}
	s.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			log.Error("image could not be fetched; it is tried again", "after", pullAgain, "err", err)
		}
		return nil, err
	}
	log.Info("image fetched", "digest", image.Digest, "seconds", time.Since(begun).Seconds())
	if err := CheckKernels(s.InForce(), s.catalogue.Get); err != nil {
		s.log.Error("machines with Secure Boot will refuse what they are to boot", "err", err)
	}
	wake(s.verify)
	return image, nil
}

// missing says that an image is wanted which is not in the catalogue, for the
// reason err. Where there is an origin, it is fetched from there.
func (s *Server) missing(ref images.Ref, err error) error {
	if s.origin == nil || !slices.Contains(s.site.Load().Images(), ref) {
		return err
	}
	wake(s.lacking)
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("image %s is being fetched from %s: %s", ref, s.origin, s.pulls[ref])
}

// wake puts a token into c, which holds one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
