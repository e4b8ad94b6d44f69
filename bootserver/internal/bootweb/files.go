package bootweb

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

// loader sends the first program of a machine that boots by HTTP, and what that
// one asks for beside itself.
func (s *web) loader(w http.ResponseWriter, r *http.Request) {
	f, err := s.openLoader(r.PathValue("file"))
	if err != nil {
		http.NotFound(w, r) // shim looks for optional files: no trouble
		return
	}
	defer f.Close()
	if mac, ok := s.sender(r); ok {
		s.reached(mac, stage.Loader, r)
	}
	w.Header().Set("Content-Type", "application/efi") // EDK2 knows it as a program
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// openLoader opens a regular file of the loaders' folder.
func (s *web) openLoader(name string) (*os.File, error) {
	root, err := os.OpenRoot(s.Loaders)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("loader %s is no file", name)
	}
	return f, nil
}

func (s *web) initramfs(w http.ResponseWriter, r *http.Request) {
	archive := s.server.Initramfs(r.PathValue("arch"))
	if archive.File == "" {
		http.Error(w, "no initramfs for this architecture", http.StatusNotFound)
		return
	}
	f, err := os.Open(archive.File)
	if err != nil {
		s.Log.Error("initramfs cannot be read", "err", err)
		http.Error(w, "initramfs cannot be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Cache-Control", "no-cache")
	send(w, r, f, archive.Digest)
}

func (s *web) part(w http.ResponseWriter, r *http.Request) {
	digest, part := r.PathValue("digest"), catalogue.Part(r.PathValue("part"))
	image, ok := s.server.Image(digest)
	if !ok || image.Path(part) == "" {
		http.Error(w, "no such part of an image", http.StatusNotFound)
		return
	}
	f, err := image.Open(part)
	if err != nil {
		s.Log.Error("part of an image cannot be read", "image", image.Manifest.Ref(), "err", err)
		http.Error(w, "the part cannot be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	if part == catalogue.Kernel {
		if mac, ok := s.sender(r); ok {
			s.reached(mac, stage.Kernel, r)
		}
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	n := send(w, r, f, catalogue.Describe(&image.Manifest, part).SHA256)
	if part == catalogue.Root {
		s.server.RootSent(digest, n)
	}
}

func (s *web) delta(w http.ResponseWriter, r *http.Request) {
	from, err := images.ParseRef(r.PathValue("from"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	data, err := s.server.Delta(r.PathValue("digest"), from)
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, catalogue.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		s.Log.Error("no delta for a machine that has another image", "from", from, "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

// send answers with a file or the ranges of it that were asked for, and returns
// how many bytes of it went out.
func send(w http.ResponseWriter, r *http.Request, f *os.File, sha256 string) int64 {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+sha256+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
	return sent(w)
}
