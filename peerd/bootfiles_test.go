package peerd

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"swarmboot/images"
	"swarmboot/initramfs/bootargs"
)

func TestBootFiles(t *testing.T) {
	kernel := []byte("the kernel of the image")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(kernel) }))
	defer server.Close()
	b := &bootFiles{files: map[string]*os.File{}}
	defer b.close()
	if err := b.fetch(t.Context(), server.URL, []bootargs.BootFile{{Path: "/kernel", SHA256: images.Digest([]byte("another"))}}); err == nil || len(b.files) > 0 {
		t.Errorf("bytes that are not those of the description are taken: %v", err)
	}
	if err := b.fetch(t.Context(), server.URL, []bootargs.BootFile{{Path: "/kernel", SHA256: images.Digest(kernel)}}); err != nil {
		t.Fatal(err)
	}

	mate := httptest.NewServer(b)
	defer mate.Close()
	get := func(path, byteRange string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, mate.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", byteRange)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(data)
	}
	if status, data := get("/kernel", ""); status != http.StatusOK || data != string(kernel) {
		t.Errorf("GET /kernel = %d %q", status, data)
	}
	if status, data := get("/kernel", "bytes=4-9"); status != http.StatusPartialContent || data != "kernel" {
		t.Errorf("GET of a range = %d %q", status, data)
	}
	if status, _ := get("/etc/passwd", ""); status != http.StatusNotFound {
		t.Errorf("GET of what is not served = %d", status)
	}
	if got, want := b.sent.Load(), int64(len(kernel)+len("kernel")); got != want {
		t.Errorf("it counts %d bytes; want %d", got, want)
	}
}
