package peerd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"swarmboot/images"
	"swarmboot/initramfs/partition"
	"swarmboot/peerd/internal/piececache"
)

const cacheEvery = time.Second // between looks at what has arrived

// openCache takes the partition that the machine is to keep pieces on; nil if it
// is to keep none.
func openCache(label string, pieces images.Pieces) (*piececache.Cache, error) {
	if label == "" {
		return nil, nil
	}
	device, err := partition.Await(label)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return piececache.Open(device, pieces)
}

// recall brings what an earlier boot has left in the cache: what reads wait for
// first, then in the order of the profile, then the rest. Each piece is verified
// as one from the network is.
func (s *rootServer) recall(ctx context.Context) {
	begun, count := time.Now(), 0
	rest := slices.Clone(s.cfg.Description.Profile)
	for i := range s.image.Pieces.Count() {
		rest = append(rest, i)
	}
	for _, piece := range rest {
		if ctx.Err() != nil {
			return
		}
		for _, want := range s.store.Wanted() {
			count += s.recallPiece(want.Piece)
		}
		count += s.recallPiece(piece)
	}
	s.log.Info("pieces from the cache", "pieces", count, "of", s.image.Pieces.Count(), "seconds", time.Since(begun).Seconds())
}

// recallPiece returns how many pieces that has brought.
func (s *rootServer) recallPiece(piece int) int {
	if piece >= s.image.Pieces.Count() || s.store.Has(piece) {
		return 0
	}
	sum := s.image.Pieces.Sum(piece)
	data, err := s.cache.Get(sum)
	if err == nil && data == nil {
		return 0
	}
	if err == nil {
		err = s.store.Put(piece, data)
	}
	if err != nil { // it comes over the network instead
		s.cache.Forget(sum)
		s.log.Warn("a piece in the cache is no good", "piece", piece, "err", err)
		return 0
	}
	return 1
}

// remember puts what arrives into the cache, until all is there or ctx is done.
func (s *rootServer) remember(ctx context.Context) {
	defer s.cache.Close()
	done := make([]bool, s.image.Pieces.Count())
	for left := len(done); left > 0; {
		have := s.store.Have()
		for i := range have {
			if !have[i] || done[i] {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			if err := s.rememberPiece(i); err != nil {
				s.log.Error("the cache takes no more pieces", "err", err)
				return
			}
			done[i] = true
			left--
		}
		if left > 0 && !sleep(ctx, cacheEvery) {
			return
		}
	}
	s.log.Info("the cache has every piece that it has room for")
}

func (s *rootServer) rememberPiece(i int) error {
	sum := s.image.Pieces.Sum(i)
	if s.cache.Has(sum) {
		return nil
	}
	data := make([]byte, s.image.Pieces.Len(i))
	if _, err := s.store.ReadAt(data, s.image.Pieces.Offset(i)); err != nil {
		return err
	}
	_, err := s.cache.Put(sum, data)
	return err
}
