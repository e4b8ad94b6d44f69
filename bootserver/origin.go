package bootserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"swarmboot/bootserver/mirror"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/origin"
	"swarmboot/initramfs/envelope"
)

// originAnswers is how long the origin is asked whether it has what the catalogue
// lacks. One that does not answer in time holds up no reload.
const originAnswers = 10 * time.Second

// Origin tells what is fetched from the origin, and which of its tags are followed.
func (s *Server) Origin() mirror.OriginStatus {
	if s.mirror == nil {
		return mirror.OriginStatus{Pulls: []mirror.PullStatus{}, Tags: []mirror.TagStatus{}}
	}
	return s.mirror.Status()
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

// pulled takes note of an image that has come from the origin.
func (s *Server) pulled(*catalogue.Image) {
	if err := CheckKernels(s.InForce(), s.catalogue.Get); err != nil {
		s.log.Error("machines with Secure Boot will refuse what they are to boot", "err", err)
	}
	wake(s.verify)
}

// missing says that an image is wanted which is not in the catalogue, for the
// reason err. Where there is an origin, it is fetched from there.
func (s *Server) missing(ref images.Ref, err error) error {
	if s.mirror == nil {
		return err
	}
	return s.mirror.Missing(ref, err)
}

// wake puts a token into c, which holds one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
