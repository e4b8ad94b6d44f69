package bootweb

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"time"

	"swarmboot/initramfs/stage"
)

// Serve answers on l until ctx is done. Transfers that run then are cut after a
// moment: whoever fetches by HTTP tries again.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger) error {
	const (
		maxConnections = 8192
		grace          = time.Second
	)
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // no WriteTimeout: pace.go watches progress
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if srv.Shutdown(soon) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(limited(l, maxConnections))
	if stop() { // nobody asked to stop
		return err
	}
	<-ended
	return nil
}

// heard tells the server which machine a request is from.
func (s *web) heard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mac, ok := s.sender(r); ok {
			s.server.Heard(mac)
		}
		s.Log.Debug("request", "peer", r.RemoteAddr, "method", r.Method, "url", withoutSecrets(r.URL))
		next.ServeHTTP(w, r)
	})
}

// straight cleans paths: shim asks for /loaders//grubx64.efi, and firmware does
// not follow the redirection that a ServeMux would answer with.
func straight(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clean := path.Clean(r.URL.Path); clean != r.URL.Path {
			asked := *r
			asked.URL = &url.URL{Path: clean, RawQuery: r.URL.RawQuery}
			r = &asked
		}
		next.ServeHTTP(w, r)
	})
}

func (s *web) sender(r *http.Request) (net.HardwareAddr, bool) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil, false
	}
	return s.server.Sender(remote.Addr().Unmap())
}

// parseMAC reads which machine a request is about, and refuses what is none.
func parseMAC(w http.ResponseWriter, text string) (net.HardwareAddr, bool) {
	mac, err := net.ParseMAC(text)
	if err != nil {
		http.Error(w, "mac: "+err.Error(), http.StatusBadRequest)
		return nil, false
	}
	return mac, true
}

// own is the address of ours that a request came to; invalid if it is not known.
func own(r *http.Request) netip.Addr {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return local.AddrPort().Addr().Unmap()
}

// is tells whether the request comes from the machine mac itself: no machine
// can speak for another.
func (s *web) is(mac net.HardwareAddr, r *http.Request) bool {
	sender, ok := s.sender(r)
	return ok && sender.String() == mac.String()
}

// reached notes a stage that a request stands for.
func (s *web) reached(mac net.HardwareAddr, at stage.Stage, r *http.Request) {
	if r.Method == http.MethodGet && s.is(mac, r) {
		s.server.Report(stage.Report{Machine: mac.String(), Stage: at})
	}
}

// sendText is sendMade for scripts and the like.
func sendText(w http.ResponseWriter, text string) {
	sendMade(w, "text/plain; charset=utf-8", []byte(text))
}

// sendMade answers with something made on the fly. Firmware wants its length.
func sendMade(w http.ResponseWriter, kind string, data []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Cache-Control", "no-store")
	w.Write(data)
}
