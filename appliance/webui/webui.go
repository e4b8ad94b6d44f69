// Package webui is the admin's listener: the pages that show racks, machines,
// images, swarms and networks, and beside them the API that the pages ask, and
// metrics.
//
// The pages are written in TypeScript under page/, built into dist/ by 'make
// page' and embedded here; they load nothing from anywhere else. A request
// travels guard (guard.go), which refuses what no admin's browser or program
// sends, then the handler of another package or files (below). cmd/swarmboot is the
// only caller.
package webui

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

//go:embed all:dist
var dist embed.FS

// Handler serves the pages, and what else there is for admins: handlers by the
// pattern of their paths. It counts what it refuses.
func Handler(others map[string]http.Handler, names []string, refusals *Refusals) (http.Handler, error) {
	pages, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, err
	}
	files, err := loadFiles(pages)
	if err != nil {
		return nil, fmt.Errorf("built-in pages: %w", err)
	}
	mux := http.NewServeMux()
	for pattern, handler := range others {
		mux.Handle(pattern, handler)
	}
	mux.Handle("/", files)
	return refusals.count(guard(mux, names)), nil
}

// Serve answers on l until ctx is done, and closes l. With a config it speaks TLS.
func Serve(ctx context.Context, l net.Listener, config *tls.Config, handler http.Handler, refusals *Refusals, log *slog.Logger) error {
	const maxConnections = 512 // admins, not machines
	l = netutil.LimitListener(l, maxConnections)
	if config != nil {
		l = tls.NewListener(l, config) // the outermost, or net/http does not see that it is TLS
	}
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute, // a controller may take half of it to switch a machine; a stream gives each event its own
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       refusals.opened,
		ConnState:         refusals.changed,
		// Streams of events end with ctx.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin pages: %w", err)
	}
	return nil
}

// files are the built pages, by path.
type files map[string]file

type file struct {
	kind, etag    string
	plain, zipped []byte
}

// loadFiles reads and compresses all files once: they are small.
func loadFiles(pages fs.FS) (files, error) {
	all := files{}
	err := fs.WalkDir(pages, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || name == "README" {
			return err
		}
		data, err := fs.ReadFile(pages, name)
		if err != nil {
			return err
		}
		var zipped bytes.Buffer
		w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		all["/"+name] = file{mime.TypeByExtension(path.Ext(name)), `"` + hex.EncodeToString(sum[:8]) + `"`, data, zipped.Bytes()}
		return nil
	})
	return all, err
}

const notBuilt = `The pages were not built into this executable: 'go build' alone does not build
them. 'make build' does. The API is here: /api/v1/openapi.json
`

// ServeHTTP answers with a file. The pages have paths of their own, such as
// /machines/52:54:00:77:00:01, which the script in index.html reads.
func (all files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "pages are only read", http.StatusMethodNotAllowed)
		return
	}
	f, ok := all[r.URL.Path]
	if !ok && path.Ext(r.URL.Path) == "" {
		f, ok = all["/index.html"]
		if !ok {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(notBuilt))
			return
		}
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache") // asks each time, and is mostly answered 304
	h.Set("Vary", "Accept-Encoding")
	data := f.plain
	etag := f.etag
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		data, etag = f.zipped, strings.TrimSuffix(f.etag, `"`)+`-gzip"`
	}
	h.Set("ETag", etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
