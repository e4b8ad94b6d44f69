package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

var scriptFiles = regexp.MustCompile(`(?m)^\s*(?:kernel|initrd|module)\b.*?(http://\S+)`)

// httpRounds are more than others: a round takes a few seconds, and one of nginx's
// may cost twice what another does.
const httpRounds = 9

// http has 64 machines fetch a kernel and what is unpacked beside it. nginx gets
// the same files under names of its own.
func (b *bench) http() {
	files := filepath.Join(b.dir, "www")
	if err := os.Mkdir(files, 0o755); err != nil {
		b.t.Fatal(err)
	}
	var theirs []string
	for range httpRounds {
		b.with(func(dir string) *server { return b.swarmboot(dir, "tcp:80") }, func(s *server) {
			ours := b.scriptURLs()
			if theirs == nil {
				for i, url := range ours {
					b.share(url, filepath.Join(files, fmt.Sprint(i)))
					theirs = append(theirs, fmt.Sprintf("http://%s/%d", serverAddr, i))
				}
			}
			b.downloads("swarmboot", s, ours)
		})
		b.with(func(dir string) *server {
			b.write(dir, "nginx.conf", fmt.Sprintf(`user root; daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
	sendfile on; tcp_nopush on; access_log %[1]s/access.log; client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen %[2]s:80; root %[3]s; }
}
`, dir, serverAddr, files))
			return b.wire.start(dir, "tcp:80", "nginx", "-c", filepath.Join(dir, "nginx.conf"))
		}, func(s *server) { b.downloads("nginx", s, theirs) })
	}
}

// scriptURLs are what the script of a machine names.
func (b *bench) scriptURLs() (urls []string) {
	b.t.Helper()
	url := fmt.Sprintf("http://%s/boot.ipxe?mac=52:54:00:88:00:01", serverAddr)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		text, err := get(b.machine(0), url)
		if err == nil {
			for _, found := range scriptFiles.FindAllStringSubmatch(string(text), -1) {
				urls = append(urls, found[1])
			}
			if len(urls) > 1 {
				return urls
			}
		}
		if time.Now().After(deadline) { // the image is being verified before that
			b.t.Fatalf("GET %s: %v\n%s", url, err, text)
		}
	}
}

// share gives nginx, as file, what is at url: where it is a part of an image the
// very file, for the kernel sends a copy at another price, which depends on the size
// of the folios in which the page cache has it.
func (b *bench) share(url, file string) {
	b.t.Helper()
	data, err := get(b.machine(0), url)
	if err != nil {
		b.t.Fatal(err)
	}
	part := filepath.Join(b.cache, "lab-state", "images", "blobs", fmt.Sprintf("%x", sha256.Sum256(data)))
	if _, err = os.Stat(part); err == nil {
		err = os.Symlink(part, file)
	} else {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func get(c *http.Client, url string) ([]byte, error) {
	resp, err := c.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return data, err
}

// machine is a client with the i-th address.
func (b *bench) machine(i int) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: clientAddress(i).AsSlice()}}
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}}}
}

func (b *bench) downloads(name string, s *server, urls []string) {
	b.t.Helper()
	b.fetchAll(name, urls, 1) // warm
	before, begun := s.cpu(), time.Now()
	gb := float64(b.fetchAll(name, urls, 3)) / 1e9
	b.add("HTTP", "CPU per GB, 64 machines", name, "s", (s.cpu()-before)/gb)
	b.add("HTTP", "rate, 64 machines", name, "MB/s", 1e3*gb/time.Since(begun).Seconds())
	b.add("HTTP", "memory", name, "MiB", s.memory())
}

// fetchAll has each machine fetch all so many times, and returns the bytes.
func (b *bench) fetchAll(name string, urls []string, times int) (total int64) {
	b.t.Helper()
	errs, sizes := make([]error, crowd), make([]int64, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			client := b.machine(i)
			defer client.CloseIdleConnections()
			for _, url := range slices.Repeat(urls, times) {
				resp, err := client.Get(url)
				if err != nil {
					errs[i] = err
					return
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err == nil && (resp.StatusCode != http.StatusOK || n != resp.ContentLength) {
					err = fmt.Errorf("%s: %s, %d of %d bytes", url, resp.Status, n, resp.ContentLength)
				}
				errs[i] = errors.Join(errs[i], err)
				sizes[i] += n
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	for _, n := range sizes {
		total += n
	}
	return total
}
