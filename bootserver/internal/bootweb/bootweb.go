// Package bootweb is the HTTP side of the boot server: the script that a loader
// asks for, kernel and initramfs, the sealed boot description, the machine's
// identity (identity.go), the image's root by ranges, and the reports that
// machines send.
//
// It knows the words of these conversations and nothing of who boots what: that
// it asks a Server, which bootserver.Server is. Files are sent by the kernel
// (sendfile): whatever wraps a response passes io.ReaderFrom on (pace.go).
package bootweb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd/announce"
)

// Paths that the server itself names in scripts and DHCP answers.
const (
	ScriptPath    = "/boot.ipxe"
	InitramfsPath = "/initramfs/" // and the architecture
	LoadersPath   = "/loaders/"   // and the name of a loader
	failedPath    = "/failed"
)

// PartPath is where a part of an image is fetched. The digest in it makes what
// is there unchangeable.
func PartPath(image *catalogue.Image, part catalogue.Part) string {
	return partPath(image.Digest, part)
}

func partPath(digest string, part catalogue.Part) string {
	return "/images/" + digest + "/" + string(part)
}

// DeltaPath is where a machine learns what image has in common with another that
// it has pieces of.
func DeltaPath(image *catalogue.Image, from images.Ref) string {
	return "/images/" + image.Digest + "/delta/" + from.String()
}

// ErrUnknown says that a machine is none of ours.
var ErrUnknown = errors.New("this boot server has nothing for this machine")

// A Plan is what one machine boots.
type Plan struct {
	MAC        net.HardwareAddr
	Name       string // may be empty
	Image      *catalogue.Image
	KernelArgs []string
	Mate       string // base URL of a machine that serves kernel and initramfs too, and is asked first; empty: none
	Local      bool   // it starts from its disk, where all this is

	// IPXE names our loader that is to run in place of a network card's own iPXE,
	// by what iPXE calls the platform: pcbios or efi. None: any iPXE will do.
	IPXE        map[string]string
	IPXEVersion string // what our loaders call themselves

	platform, version string // of the loader that asks
}

func (p Plan) title() string {
	if p.Name == "" {
		return p.MAC.String()
	}
	return p.Name + " (" + p.MAC.String() + ")"
}

// A Server knows the machines and takes note of what they do.
type Server interface {
	// Plan tells what mac boots: ErrUnknown for a stranger, else an error that
	// says why the machine cannot be booted now.
	Plan(mac net.HardwareAddr) (Plan, error)
	// Base is the URL by which a loader on mac, which has asked at our address
	// own, reaches this server, without a path.
	Base(mac net.HardwareAddr, own netip.Addr) string
	// Describe is the sealed boot description of mac; errors as with Plan.
	Describe(mac net.HardwareAddr) ([]byte, error)
	// Claim are the kernel arguments by which mac gets what nobody else may have.
	// It is called only when mac itself asks for its script.
	Claim(mac net.HardwareAddr) []string
	// Identity is the sealed identity of mac, for the token of its boot: ErrToken
	// for another; errors as with Plan.
	Identity(mac net.HardwareAddr, token string) ([]byte, error)
	// Seed is a file of the data for cloud-init that word opens, and the machine
	// that it is for.
	Seed(word, file string) (data string, mac net.HardwareAddr, ok bool)
	// Image is the image with that digest, if it is on offer.
	Image(digest string) (*catalogue.Image, bool)
	// Delta is what the root of the image with that digest has in common with
	// another's, for package delta: ErrUnknown, catalogue.ErrNotFound.
	Delta(digest string, from images.Ref) ([]byte, error)
	// Sender is the machine that has the address.
	Sender(netip.Addr) (net.HardwareAddr, bool)
	// Heard is told of each request of a machine.
	Heard(mac net.HardwareAddr)
	// Report takes what a machine says, or what its requests say for it.
	Report(stage.Report)
	// Inventory takes what a machine that waits to be adopted tells about itself,
	// and says whether it is to wait on.
	Inventory(inventory.Inventory) (inventory.Order, error)
	// RootSent counts bytes of an image's root that went over HTTP.
	RootSent(digest string, n int64)
}

// Config is what the handlers need besides the Server.
type Config struct {
	Initramfs map[string]Initramfs // by architecture
	Loaders   string               // folder of the loaders
	Tracker   http.Handler         // for announce.Path
	Log       *slog.Logger
}

// An Initramfs is a file with the common archive and the keys.
type Initramfs struct{ File, Digest string } // Digest: SHA-256

type web struct {
	Config
	server Server
}

// Handler serves all paths.
func Handler(cfg Config, server Server) http.Handler {
	w := &web{cfg, server}
	mux := http.NewServeMux()
	mux.Handle("GET "+ScriptPath, w.script(ipxe{}))
	mux.Handle("GET "+grubScriptPath, w.script(grub{}))
	mux.Handle("GET "+grubHTTPScriptPath, w.script(grub{byHTTP: true}))
	mux.HandleFunc("GET "+GRUBConfigPath, w.grubConfig)
	mux.HandleFunc("GET "+LoadersPath+"{file}", w.loader)
	mux.HandleFunc("GET "+failedPath, w.failed)
	mux.HandleFunc("GET "+InitramfsPath+"{arch}", w.initramfs)
	mux.HandleFunc("GET /images/{digest}/{part}", w.part)
	mux.HandleFunc("GET /images/{digest}/delta/{from}", w.delta)
	mux.HandleFunc("GET /describe/{mac}", w.describe)
	mux.HandleFunc("POST /identity/{mac}", w.identity)
	mux.HandleFunc("GET "+seedPath+"{word}/{file}", w.seed)
	mux.HandleFunc("POST "+stage.Path, w.report)
	mux.HandleFunc("POST "+inventory.Path, w.inventory)
	mux.Handle("GET "+announce.Path, cfg.Tracker)
	return paced(w.heard(straight(mux)))
}

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

// script tells a loader, in its language, what to boot.
func (s *web) script(in language) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		mac, err := net.ParseMAC(q.Get("mac"))
		if err != nil {
			http.Error(w, "mac: "+err.Error(), http.StatusBadRequest)
			return
		}
		attempt, _ := strconv.Atoi(q.Get("attempt"))
		base := s.server.Base(mac, own(r))
		log := s.Log.With("machine", mac.String(), "platform", q.Get("platform"), "version", q.Get("version"), "uuid", q.Get("uuid"))
		plan, err := s.server.Plan(mac)
		if errors.Is(err, ErrUnknown) {
			log.Warn("script refused", "peer", r.RemoteAddr, "err", err)
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		if err != nil {
			log.Error("machine cannot be booted", "stage", stage.Kernel, "err", err)
			sendText(w, in.apology(mac.String(), err.Error(), base, attempt))
		} else {
			log.Info("script sent", "image", plan.Image.Manifest.Ref(), "attempt", attempt)
			if r.Method == http.MethodGet && s.is(mac, r) {
				plan.KernelArgs = append(slices.Clone(plan.KernelArgs), s.server.Claim(mac)...)
			}
			plan.platform, plan.version = q.Get("platform"), strings.ReplaceAll(q.Get("version"), " ", "+") // as iPXE does not escape it
			sendText(w, in.boot(plan, base, attempt))
		}
		if err != nil || !plan.makesWay() {
			s.reached(mac, stage.Script, r)
		}
		if err == nil && !plan.makesWay() && plan.Mate != "" {
			log.Info("kernel and initramfs come from a rack mate", "peer", plan.Mate)
			s.reached(mac, stage.Kernel, r) // the mate does not tell
		}
		if err != nil && r.Method == http.MethodGet && s.is(mac, r) {
			s.server.Report(stage.Report{Machine: mac.String(), Stage: stage.Failed, At: stage.Kernel, Reason: err.Error()})
		}
	})
}

// sendText answers with something made on the fly. Firmware wants its length.
func sendText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, text)
}

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

// failed takes what a script reports when it cannot go on.
func (s *web) failed(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	mac, err := net.ParseMAC(q.Get("mac"))
	if err != nil || !s.is(mac, r) {
		http.Error(w, "no machine with this address", http.StatusForbidden)
		return
	}
	at := stage.Stage(q.Get("stage"))
	if at.Index() < 0 {
		http.Error(w, "unknown stage", http.StatusBadRequest)
		return
	}
	reason := fmt.Sprintf("the loader could not fetch or start: %.40q", q.Get("part"))
	if code := q.Get("error"); code != "" {
		reason += fmt.Sprintf(" (iPXE error %.40q; https://ipxe.org/ERROR explains it)", code)
	} else {
		reason += " (GRUB; its console says why)"
	}
	s.server.Report(stage.Report{Machine: mac.String(), Stage: stage.Failed, At: at, Reason: reason})
	sendText(w, "# noted\n") // GRUB runs what it is sent
}

func (s *web) initramfs(w http.ResponseWriter, r *http.Request) {
	archive, ok := s.Initramfs[r.PathValue("arch")]
	if !ok {
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

func (s *web) describe(w http.ResponseWriter, r *http.Request) {
	mac, err := net.ParseMAC(r.PathValue("mac"))
	if err != nil {
		http.Error(w, "mac: "+err.Error(), http.StatusBadRequest)
		return
	}
	sealed, err := s.server.Describe(mac)
	switch {
	case errors.Is(err, ErrUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		s.Log.Error("machine cannot be booted", "machine", mac.String(), "err", err)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if len(sealed) > bootargs.MaxDescription {
		http.Error(w, "boot description is larger than machines read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(sealed)))
	w.Header().Set("Cache-Control", "no-store")
	w.Write(sealed)
}

func (s *web) report(w http.ResponseWriter, r *http.Request) {
	refuse := func(code int, err error) {
		s.Log.Warn("report refused", "peer", r.RemoteAddr, "err", err)
		http.Error(w, err.Error(), code)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, stage.MaxReport))
	if err != nil {
		refuse(http.StatusBadRequest, fmt.Errorf("report: %w", err))
		return
	}
	report, err := stage.Decode(data)
	if err != nil {
		refuse(http.StatusBadRequest, err)
		return
	}
	mac, err := net.ParseMAC(report.Machine)
	if err != nil || !s.is(mac, r) {
		refuse(http.StatusForbidden, fmt.Errorf("report about %s comes from an address that is not its own", report.Machine))
		return
	}
	s.server.Report(report)
	w.WriteHeader(http.StatusNoContent)
}
