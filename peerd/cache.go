package peerd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"swarmboot/images"
	"swarmboot/images/delta"
	"swarmboot/initramfs/partition"
	"swarmboot/peerd/internal/piececache"
	"swarmboot/peerd/swarm"
)

const (
	cacheEvery = time.Second      // between looks at what has arrived
	maxDrafts  = 16 << 20         // bytes of memory, for pieces that are known in part
	deltaComes = 20 * time.Second // for the server to make a delta, at 100 MB/s; a read that waits is answered meanwhile (demand.go)
)

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
// first, then in the order of the profile, then the rest, and then what can be
// made of pieces of another version. Each piece is verified as one from the
// network is. Of those that can be made in part, the engine, which is still to be
// started, fetches the rest.
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
	made, drafts := 0, map[int]swarm.Draft{}
	for _, url := range s.cfg.Description.Deltas {
		if count+made == s.image.Pieces.Count() || ctx.Err() != nil {
			break
		}
		d, err := fetchDelta(ctx, url)
		if err == nil && d.Size != s.image.Pieces.Size {
			err = fmt.Errorf("it is for a root of %d bytes", d.Size)
		}
		if err != nil {
			s.log.Warn("pieces of another version are of no use", "url", url, "err", err)
			continue
		}
		old := &past{Delta: d, cache: s.cache}
		for _, piece := range rest {
			whole, draft := s.makePiece(piece, old)
			if whole {
				made++
				delete(drafts, piece)
			} else if slices.Contains(draft.Known, true) && len(drafts) < maxDrafts/int(s.image.Pieces.Length) {
				drafts[piece] = draft
			}
		}
	}
	for _, draft := range drafts {
		s.engine.Draft(draft)
	}
	s.log.Info("pieces from the cache", "pieces", count, "made", made, "in_part", len(drafts), "of", s.image.Pieces.Count(), "seconds", time.Since(begun).Seconds())
}

// directly asks by way of no proxy, whatever the environment says.
var directly = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// fetchDelta asks the boot server, which may have to make it first.
func fetchDelta(ctx context.Context, url string) (delta.Delta, error) {
	ctx, cancel := context.WithTimeout(ctx, deltaComes)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return delta.Delta{}, err
	}
	resp, err := directly.Do(req)
	if err != nil {
		return delta.Delta{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return delta.Delta{}, fmt.Errorf("the server answered %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, delta.MaxSize))
	if err != nil {
		return delta.Delta{}, err
	}
	return delta.Parse(data)
}

// A past is what the cache has of another version, as a delta says.
type past struct {
	delta.Delta
	cache *piececache.Cache
	piece int    // the last one that was read,
	data  []byte // and its bytes; none if the cache does not have it
}

// read copies what is at offset in the new root to p, and tells whether the cache
// has all that it takes.
func (o *past) read(p []byte, offset int64) bool {
	parts := o.Cover(offset, int64(len(p)))
	for _, c := range parts {
		first, last := o.Old.Spanned(c.From, int(c.Length))
		for old := first; old <= last; old++ {
			if o.data == nil || o.piece != old {
				o.piece = old
				if o.data, _ = o.cache.Get(o.Old.Sum(old)); len(o.data) != o.Old.Len(old) { // thrown out, or never kept
					o.data = nil
					return false
				}
			}
			begin := max(0, c.From-o.Old.Offset(old))
			end := min(int64(len(o.data)), c.From+c.Length-o.Old.Offset(old))
			p = p[copy(p, o.data[begin:end]):]
		}
	}
	return len(parts) > 0
}

// makePiece puts a piece together from those of another version, if the cache has
// all that it takes. If it has some blocks, it returns those.
func (s *rootServer) makePiece(piece int, old *past) (made bool, draft swarm.Draft) {
	if piece >= s.image.Pieces.Count() || s.store.Has(piece) {
		return false, draft
	}
	draft = swarm.Draft{Piece: piece, Data: make([]byte, s.image.Pieces.Len(piece))}
	for block := range slices.Chunk(draft.Data, delta.BlockLength) {
		at := s.image.Pieces.Offset(piece) + int64(len(draft.Known)*delta.BlockLength)
		draft.Known = append(draft.Known, old.read(block, at))
	}
	if slices.Contains(draft.Known, false) {
		return false, draft
	}
	return s.store.Put(piece, draft.Data) == nil, swarm.Draft{} // verified there
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
