package origin

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swarmboot/images/catalogue/cataloguetest"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const accessKey, secretKey = "swarmboot", "keep-this-secret"

// objectStore runs versitygw, an S3 server on a folder, with a bucket called
// images, and returns its address.
func objectStore(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("versitygw")
	if os.Getenv("SWARMBOOT_E2E") == "" || err != nil {
		t.Skip("needs versitygw in the PATH; run by make e2e-images")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	server := exec.CommandContext(t.Context(), program, "--access", accessKey, "--secret", secretKey, "--port", at, "--quiet", "posix", t.TempDir())
	server.Stdout, server.Stderr = t.Output(), t.Output()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Wait() }) // its context ends before
	client, err := minio.New(at, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if err = client.MakeBucket(t.Context(), "images", minio.MakeBucketOptions{}); err == nil {
			return at
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A wire passes connections on to a server, and cuts them.
type wire struct {
	net.Listener
	cuts  atomic.Int64 // connections that are yet to be cut
	after atomic.Int64 // that many bytes in either direction
	down  atomic.Int64 // bytes from the server, in all
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				near.Close()
				continue
			}
			pass := func(to, from net.Conn, count *atomic.Int64) {
				defer near.Close()
				defer far.Close()
				passed, buf := int64(0), make([]byte, 16<<10)
				for {
					n, err := from.Read(buf)
					if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
						return
					}
					count.Add(int64(n))
					if passed += int64(n); passed > w.after.Load() && w.cuts.Load() > 0 {
						w.cuts.Add(-1)
						return
					}
				}
			}
			wg.Go(func() { pass(far, near, new(atomic.Int64)) })
			wg.Go(func() { pass(near, far, &w.down) })
		}
	})
	return w
}

func TestBucket(t *testing.T) {
	w := newWire(t, objectStore(t))
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := Open(Config{URL: "s3:http://" + w.Addr().String() + "/images/hall", Credentials: keys})
	if err != nil {
		t.Fatal(err)
	}
	store.pause = time.Millisecond
	ignore := func(int64, int64) {}

	there, key := cataloguetest.New(t)
	image := cataloguetest.Add(t, there, key, lab1.String(), newRoot())
	w.after.Store(int64(rootSize) / 3)
	w.cuts.Store(2)
	if err := store.Push(t.Context(), image, stable, ignore); err != nil {
		t.Fatal(err)
	}
	if left := w.cuts.Load(); left != 0 {
		t.Errorf("%d of 2 connections were not cut", left)
	}
	if err := store.Push(t.Context(), image, stable, ignore); err != nil {
		t.Errorf("pushed again: %v", err)
	}

	here := cataloguetest.Open(t, t.TempDir(), key)
	w.down.Store(0)
	w.after.Store(int64(rootSize) / 5)
	w.cuts.Store(4)
	got, err := store.Pull(t.Context(), here, stable, ignore)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.VerifyAll(t.Context()); err != nil || got.Digest != image.Digest {
		t.Errorf("image %s, %v; want %s", got.Digest, err, image.Digest)
	}
	if left, down := w.cuts.Load(), w.down.Load(); left != 0 || down > int64(rootSize)*12/10 {
		t.Errorf("%d of 4 connections were not cut, %d bytes came; want about one image", left, down)
	}

	// Another image under the same name is refused: machines may be running the first.
	elsewhere := cataloguetest.Open(t, t.TempDir(), key)
	other := cataloguetest.Add(t, elsewhere, key, lab1.String(), []byte("another root"))
	if err := store.Push(t.Context(), other, stable, ignore); err == nil {
		t.Error("an image was replaced")
	}
}

func TestBucketRefuses(t *testing.T) {
	at := objectStore(t)
	for _, c := range []struct{ what, secret, bucket, want string }{
		{"a wrong key", "wrong", "images", "signature"},
		{"no such bucket", secretKey, "nothing", "make it first"},
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", c.secret)
		store, err := Open(Config{URL: "s3:http://" + at + "/" + c.bucket})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Find(t.Context(), nil, lab1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q in it", c.what, err, c.want)
		}
	}
}
