// Package bootweb is the HTTP side of the boot server: the script that a loader
// asks for (script.go; ipxe.go and grub.go are its languages), loaders, kernel and
// initramfs and the image's root by ranges (files.go), what is sealed for a machine
// (sealed.go), and what machines report (report.go).
//
// It knows the words of these conversations and nothing of who boots what: that
// it asks a Server, which bootserver.Server is. Files are sent by the kernel
// (sendfile): whatever wraps a response (serve.go) passes io.ReaderFrom on (pace.go).
package bootweb

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"swarmboot/images"
	"swarmboot/images/catalogue"
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
	// Initramfs is that for machines of an architecture; zero: there is none.
	Initramfs(arch string) Initramfs
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
	// Refused counts what a machine, or who poses as one, asked for or told in vain:
	// for what, and the status of the answer.
	Refused(what string, status int)
	// RootSent counts bytes of an image's root that went over HTTP.
	RootSent(digest string, n int64)
}

// Config is what the handlers need besides the Server.
type Config struct {
	Loaders string       // folder of the loaders
	Tracker http.Handler // for announce.Path
	Log     *slog.Logger
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
