package peerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"swarmboot/initramfs/bootargs"
)

const (
	bootFetchAgain = 30 * time.Second
	bootFetchTime  = 5 * time.Minute
	maxLoaders     = 64 // that are served at a time
)

// bootFiles are kernel and initramfs, in memory, for the loaders of rack mates.
// Each was compared with its SHA-256 in the signed boot description.
type bootFiles struct {
	files map[string]*os.File // by path
	sent  atomic.Int64        // bytes
}

// serveBoot fetches what the boot description asks this machine to serve, and
// serves it until ctx is done.
func (s *rootServer) serveBoot(ctx context.Context) {
	if len(s.cfg.Description.Serve) == 0 {
		return
	}
	b := &bootFiles{files: map[string]*os.File{}}
	defer b.close()
	for {
		err := b.fetch(ctx, s.cfg.Server, s.cfg.Description.Serve)
		if err == nil {
			break
		}
		s.log.Warn("kernel and initramfs for others could not be fetched; they are tried again", "after", bootFetchAgain, "err", err)
		if !sleep(ctx, bootFetchAgain) {
			return
		}
	}
	listener, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(s.cfg.ListenBoot))
	if err != nil {
		s.log.Error("kernel and initramfs are not served to others", "err", err)
		return
	}
	s.bootFiles.Store(b) // from now on, reports say so
	s.log.Info("kernel and initramfs are served to others", "address", listener.Addr())
	server := &http.Server{Handler: b, ReadTimeout: 10 * time.Second, WriteTimeout: bootFetchTime, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(listener, maxLoaders)); !errors.Is(err, http.ErrServerClosed) {
		s.bootFiles.Store(nil)
		s.log.Error("kernel and initramfs are not served to others any more", "err", err)
	}
}

// fetch gets those files from the boot server that are not here yet.
func (b *bootFiles) fetch(ctx context.Context, server string, wanted []bootargs.BootFile) error {
	ctx, cancel := context.WithTimeout(ctx, bootFetchTime)
	defer cancel()
	for _, want := range wanted {
		if b.files[want.Path] != nil {
			continue
		}
		f, err := fetchBootFile(ctx, server+want.Path, want.SHA256)
		if err != nil {
			return err
		}
		b.files[want.Path] = f
	}
	return nil
}

// fetchBootFile gets a file into memory that belongs to no file system.
func fetchBootFile(ctx context.Context, url, sum string) (*os.File, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := directly.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: the server answered %s", url, resp.Status)
	}
	fd, err := unix.MemfdCreate("boot", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for %s: %w", url, err)
	}
	f := os.NewFile(uintptr(fd), url)
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), resp.Body)
	if got := hex.EncodeToString(h.Sum(nil)); err == nil && got != sum {
		err = fmt.Errorf("its SHA-256 is %s; the boot description says %s", got, sum)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	return f, nil
}

// ServeHTTP sends a file, or what a range of it was asked for.
func (b *bootFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := b.files[r.URL.Path]
	if f == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&counted{w, &b.sent}, r, "", time.Time{}, io.NewSectionReader(f, 0, info.Size()))
}

func (b *bootFiles) close() {
	for _, f := range b.files {
		f.Close()
	}
}

// counted counts what a response sends.
type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}
