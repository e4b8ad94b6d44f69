package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/catalogue/cataloguetest"
)

var (
	lab1     = images.Ref{Name: "lab", Version: "1"}
	stable   = images.Ref{Name: "lab", Version: "stable"}
	rootSize = 1 << 20
)

// newRoot makes bytes that do not repeat.
func newRoot() []byte {
	root := make([]byte, rootSize)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(root)
	return root
}

// A flaky web server breaks each connection off after some bytes.
type flaky struct {
	files http.Handler
	after int          // bytes of an answer; 0: never
	sent  atomic.Int64 // in all
	asked atomic.Int64 // answers
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked.Add(1)
	f.files.ServeHTTP(&cut{w, f, 0}, r)
}

type cut struct {
	http.ResponseWriter
	from *flaky
	sent int
}

func (c *cut) Write(p []byte) (int, error) {
	if c.from.after > 0 && c.sent+len(p) > c.from.after {
		p = p[:c.from.after-c.sent]
	}
	n, err := c.ResponseWriter.Write(p)
	c.sent += n
	c.from.sent.Add(int64(n))
	if c.sent == c.from.after && err == nil {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// site is a catalogue with lab@1, also called lab@stable, on a web server, and
// the empty catalogue of a boot server that has the same key.
type site struct {
	*flaky
	store *Store
	dir   string // of the catalogue that is served
	image *catalogue.Image
	here  *catalogue.Catalogue
}

func newSite(t *testing.T) *site {
	t.Helper()
	c, key := cataloguetest.New(t)
	s := &site{flaky: &flaky{files: http.FileServer(http.Dir(c.Dir()))}, dir: c.Dir()}
	s.image = cataloguetest.Add(t, c, key, lab1.String(), newRoot())
	if _, err := c.Tag(t.Context(), stable, lab1); err != nil {
		t.Fatal(err)
	}
	s.here = cataloguetest.Open(t, t.TempDir(), key)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	var err error
	if s.store, err = Open(Config{URL: server.URL}); err != nil {
		t.Fatal(err)
	}
	s.store.pause = time.Millisecond
	return s
}

func (s *site) pull(ctx context.Context, ref images.Ref) (*catalogue.Image, error) {
	return s.store.Pull(ctx, s.here, ref, func(int64, int64) {})
}

// blob is the file of a part on the web server.
func (s *site) blob(part catalogue.Part) string { return s.image.Path(part) }

func TestPull(t *testing.T) {
	s := newSite(t)
	var last int64
	image, err := s.store.Pull(t.Context(), s.here, stable, func(done, total int64) {
		if done < last || done > total {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	if image.Digest != s.image.Digest || last < int64(rootSize) {
		t.Errorf("image %s after %d bytes; want %s", image.Digest, last, s.image.Digest)
	}
	if err := image.VerifyAll(t.Context()); err != nil {
		t.Error(err)
	}
	if tagged, err := s.here.Get(stable); err != nil || tagged.Digest != s.image.Digest {
		t.Errorf("the tag does not stand for the image: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.here.Dir(), "partial", "*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	sent := s.sent.Load()
	if _, err := s.pull(t.Context(), lab1); err != nil || s.sent.Load()-sent > int64(rootSize/2) {
		t.Errorf("pulled again: %v, %d bytes", err, s.sent.Load()-sent)
	}
}

// TestPullSharesBlobs pulls a second image that differs in its root alone.
func TestPullSharesBlobs(t *testing.T) {
	s := newSite(t)
	if _, err := s.pull(t.Context(), lab1); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.here.Dir(), catalogue.RefName(lab1))); err != nil {
		t.Fatal(err)
	}
	for _, part := range catalogue.Parts { // they must not be asked for again
		if err := os.Remove(s.blob(part)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.pull(t.Context(), lab1); err != nil {
		t.Error(err)
	}
}

func TestPullOverBrokenConnections(t *testing.T) {
	s := newSite(t)
	s.after = rootSize / 10
	image, err := s.pull(t.Context(), lab1)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.VerifyAll(t.Context()); err != nil {
		t.Error(err)
	}
	if asked, sent := s.asked.Load(), s.sent.Load(); asked < 10 || sent > int64(rootSize)*12/10 {
		t.Errorf("%d answers with %d bytes; want the connection to break, and no byte to come twice", asked, sent)
	}
}

// A web server without ranges sends all from the begin.
func TestPullWithoutRanges(t *testing.T) {
	s := newSite(t)
	files := s.files
	s.files = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		files.ServeHTTP(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.store.Pull(ctx, s.here, lab1, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}); err == nil {
		t.Fatal("a pull that was stopped has an image")
	}
	if _, err := s.pull(t.Context(), lab1); err != nil {
		t.Error(err)
	}
}

// TestPullGoesOn stops a pull in the middle and begins it anew, as a restart of
// the server does.
func TestPullGoesOn(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.store.Pull(ctx, s.here, lab1, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("a pull that was stopped has an image")
	}
	if list, err := s.here.List(); len(list) > 0 || err != nil {
		t.Fatalf("half a pull left %v, %v", list, err)
	}
	sent := s.sent.Load()
	if _, err := s.pull(t.Context(), lab1); err != nil {
		t.Fatal(err)
	}
	if again := s.sent.Load() - sent; again > int64(rootSize)*7/10 {
		t.Errorf("%d bytes came the second time; want what was missing", again)
	}
}

func TestCollectRemovesWhatNobodyFetches(t *testing.T) {
	s := newSite(t)
	f, err := s.here.Partial(t.Context(), strings.Repeat("0", 64))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "half a blob")
	if freed, err := s.here.Collect(t.Context()); freed != 0 || err != nil {
		t.Errorf("Collect() while it is fetched = %d, %v; want 0", freed, err)
	}
	f.Close()
	if freed, err := s.here.Collect(t.Context()); freed != 11 || err != nil {
		t.Errorf("Collect() = %d, %v; want 11", freed, err)
	}
}

func TestPullRefusesWrongBytes(t *testing.T) {
	s := newSite(t)
	good, err := os.ReadFile(s.blob(catalogue.Root))
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) {
		t.Helper()
		os.Remove(s.blob(catalogue.Root))
		if err := os.WriteFile(s.blob(catalogue.Root), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bad := bytes.Clone(good)
	bad[len(bad)/2] ^= 1
	put(bad)
	if _, err := s.pull(t.Context(), lab1); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("pull of wrong bytes = %v", err)
	}
	put(good)
	if _, err := s.pull(t.Context(), lab1); err != nil {
		t.Errorf("after the store was mended: %v", err)
	}
}

func TestPullRefusesStrangers(t *testing.T) {
	s := newSite(t)
	s.here, _ = cataloguetest.New(t)
	if _, err := s.pull(t.Context(), lab1); err == nil || !strings.Contains(err.Error(), "key trust") {
		t.Errorf("pull of an image that nobody trusted has signed = %v", err)
	}
}

func TestPullOfNothing(t *testing.T) {
	s := newSite(t)
	if _, err := s.pull(t.Context(), images.Ref{Name: "lab", Version: "2"}); !errors.Is(err, catalogue.ErrNotFound) {
		t.Errorf("pull of an image that is not there = %v", err)
	}
	s.files = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	s.asked.Store(0)
	if _, err := s.pull(t.Context(), lab1); err == nil || s.asked.Load() != 1 {
		t.Errorf("a refusal was asked for %d times, and is %v", s.asked.Load(), err)
	}
	s.files = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	s.asked.Store(0)
	if _, err := s.pull(t.Context(), lab1); err == nil || s.asked.Load() != maxTries {
		t.Errorf("a gateway's trouble was asked for %d times, and is %v", s.asked.Load(), err)
	}
}

func TestPushNeedsABucket(t *testing.T) {
	s := newSite(t)
	if err := s.store.Push(t.Context(), s.image, stable, func(int64, int64) {}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Push to a web server = %v; want ErrReadOnly", err)
	}
}

// dead is a store whose connections stand still.
type dead struct{ asked int }

func (d *dead) get(ctx context.Context, _ string, _ int64) (io.ReadCloser, error) {
	d.asked++
	return io.NopCloser(reader(func([]byte) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})), nil
}

func TestConnectionThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, begun := &dead{}, time.Now()
		s := &Store{url: "dead", files: d, pause: firstPause}
		_, err := s.read(t.Context(), "refs/lab/1", maxDigest)
		if err == nil || !strings.Contains(err.Error(), "nothing has come") || d.asked != maxTries {
			t.Errorf("read of a dead store = %v after %d tries", err, d.asked)
		}
		if took := time.Since(begun); took < maxTries*stalled || took > 2*maxTries*stalled {
			t.Errorf("it took %v", took)
		}
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{}, {URL: "images.example.org"}, {URL: "ftp://images.example.org"}, {URL: "s3://bucket/images"}, {URL: "s3:https://s3.example.org"},
		{URL: "s3:https://key:secret@s3.example.org/images"}, {URL: "https://images.example.org/?x=1"}, {URL: "https://images.example.org", Credentials: "keys"},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is taken", c)
		} else if strings.Contains(err.Error(), "secret@") {
			t.Errorf("%v tells the secret", err)
		}
	}
	for url, want := range map[string]string{
		"https://images.example.org/swarmboot/":      "https://images.example.org/swarmboot",
		"http://anna:secret@images.example.org":      "http://anna:xxxxx@images.example.org",
		"s3:https://s3.example.org:9000/images/here": "s3:https://s3.example.org:9000/images/here",
	} {
		s, err := Open(Config{URL: url})
		if err != nil || s.String() != want {
			t.Errorf("Open(%s) = %v, %v; want %s", url, s, err, want)
		}
	}
}
