// Package bootserver is everything that a network of machines talks to: DHCP,
// TFTP and HTTP, the tracker and the seeder of each image.
//
// Server composes the protocols, which are packages of their own below
// internal/, and holds what they have in common: who boots what (config.go,
// site.go, offer.go; reload.go and override.go change it), how far each machine
// has come (package fleet; memory.go keeps it over a restart), what its boot will
// read (package profiles), what of that it has already (delta.go) or gets from its rack
// mates (mates.go), what makes it itself (identity.go), what it writes to its disk
// (install.go), and the images that come from elsewhere (package mirror). answer.go is
// where the protocols ask and tell.
//
// appliance is its only caller: it reads the config and shows the status.
package bootserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/internal/bootweb"
	"swarmboot/bootserver/internal/dhcp"
	"swarmboot/bootserver/internal/dhcp6"
	"swarmboot/bootserver/internal/identities"
	"swarmboot/bootserver/internal/leasestore"
	"swarmboot/bootserver/internal/profiles"
	"swarmboot/bootserver/internal/ra"
	"swarmboot/bootserver/internal/seeder"
	"swarmboot/bootserver/internal/tftp"
	"swarmboot/bootserver/internal/tracker"
	"swarmboot/bootserver/loaders"
	"swarmboot/bootserver/mirror"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/origin"
	"swarmboot/initramfs/envelope"
)

// Server boots the machines of its networks.
type Server struct {
	site      atomic.Pointer[site]
	catalogue *catalogue.Catalogue
	key       envelope.Signer
	log       *slog.Logger

	fleet      *fleet.Fleet
	strangers  *strangers
	meter      *meter
	profiles   *profiles.Store
	deltas     deltas
	mates      mates
	identities *identities.Store
	foreign    map[string]bool // loaders that are not the pinned ones
	dhcp       *dhcp.Server
	leases     leasestore.Store
	dhcp6      *dhcp6.Server
	tftp       *tftp.Server
	tracker    *tracker.Tracker
	web        bootweb.Config
	archives   atomic.Pointer[map[string]bootweb.Initramfs] // by architecture
	serving    chan struct{}                                // closed when all ports are open
	mirror     *mirror.Mirror                               // nil: there is no origin

	reloading sync.Mutex    // held while a config is put in force; before the others
	verify    chan struct{} // holds a token when there may be other images

	verifying sync.Mutex // held while an image is verified; before mu
	mu        sync.Mutex
	offers    map[string]*offer  // guarded by mu; by the image's digest
	running   map[string]running // guarded by mu; what each machine's last script was for
	refused   map[Refusal]int64  // guarded by mu
	seeder    *seeder.Seeder     // guarded by mu; set by Run before anything serves
}

// New checks the config and opens the files that it names. It opens no socket.
func New(cfg Config, offered *catalogue.Catalogue, key envelope.Signer, log *slog.Logger) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	s := &Server{
		foreign:   map[string]bool{},
		catalogue: offered, key: key, log: log, offers: map[string]*offer{}, running: map[string]running{}, refused: map[Refusal]int64{}, verify: make(chan struct{}, 1), serving: make(chan struct{}),
		fleet: fleet.New(), strangers: newStrangers(), meter: newMeter(),
	}
	s.tracker = tracker.New(s.rackOf, rand.Uint64(), log)
	s.site.Store(newSite(cfg))
	if cfg.Origin.URL != "" {
		store, err := origin.Open(cfg.Origin)
		if err != nil {
			return nil, fmt.Errorf("origin: %w", err)
		}
		s.mirror = mirror.New(mirror.Config{
			Origin: store, Poll: cfg.Origin.Poll, Catalogue: offered, SeenFile: filepath.Join(cfg.State, "origin-tags.json"),
			Wanted: func() []images.Ref { return s.site.Load().Images() }, Pulled: s.pulled, Log: log,
		})
	}
	if err := s.haveImages(s.site.Load()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.State, 0o755); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := s.trust(offered.Trusted()); err != nil {
		return nil, err
	}
	s.web = bootweb.Config{Loaders: cfg.Loaders, Tracker: s.tracker, Log: log}
	var err error
	if s.profiles, err = profiles.Open(filepath.Join(cfg.State, "profiles"), key, offered.Trusted); err != nil {
		return nil, err
	}
	if s.identities, err = identities.Open(filepath.Join(cfg.State, identityFolder)); err != nil {
		return nil, err
	}
	if err := s.haveLoaders(cfg.Loaders); err != nil {
		return nil, err
	}
	if err := CheckKernels(cfg, offered.Get); err != nil {
		return nil, err
	}
	if s.tftp, err = tftp.New(tftp.Config{Dir: cfg.Loaders, Make: s.made, Log: log, Loading: s.loading}); err != nil {
		return nil, err
	}
	if s.leases, err = leasestore.Open(filepath.Join(cfg.State, "leases.db"), log); err != nil {
		return nil, err
	}
	s.recall(time.Now())
	s.fleet.Expect(cfg.known())
	s.dhcp, err = dhcp.New(dhcp.Config{Networks: s.site.Load().dhcpNetworks(), Leases: s.leases, Log: log}, dhcpSide{s})
	if err != nil {
		s.leases.Close()
		return nil, err
	}
	s.dhcp6, err = dhcp6.New(s.site.Load().dhcp6Networks(), s.leases, dhcp6Side{dhcpSide{s}}, log)
	if err != nil {
		s.leases.Close()
		return nil, err
	}
	return s, nil
}

// haveLoaders refuses a folder without all loaders, but for the one that machines
// with BIOS and a disk alone need: a server that was upgraded goes on without it.
// Others than the pinned ones may be the admin's own.
func (s *Server) haveLoaders(dir string) error {
	var missing []error
	for _, f := range loaders.Files {
		switch err := f.Verify(dir); {
		case errors.Is(err, loaders.ErrOther):
			s.log.Warn("loader is not the one that was tried", "err", err)
			s.foreign[f.Name] = true
		case err != nil && f.Name == loaders.OnBIOSDisk(loaders.BIOS.Arch()):
			s.log.Warn("machines with BIOS cannot be installed; swarmboot loaders fetch brings what is missing", "err", err)
		case err != nil:
			missing = append(missing, err)
		}
	}
	if err := errors.Join(missing...); err != nil {
		return fmt.Errorf("%w; swarmboot loaders fetch --dir %s brings them", err, dir)
	}
	return nil
}

// A service is one protocol whose socket is open.
type service struct {
	name string
	run  func(context.Context) error
}

// Run opens the ports and serves until ctx is done or a service fails, and
// returns after all have ended. A requested stop is not an error. It can be
// called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.leases.Close()
	defer s.dhcp.Close()
	services, err := s.open(ctx)
	if err != nil {
		return err
	}
	close(s.serving)
	services = append(services, service{"images", s.warmUp}, service{"watch", s.watch}, service{"memory", s.remember})
	if s.mirror != nil {
		services = append(services, service{"origin", s.mirror.Run})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, svc := range services {
		wg.Go(func() {
			if err := svc.run(ctx); err != nil {
				cancel(fmt.Errorf("%s: %w", svc.name, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); ctx.Err() != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Serving is closed once Run has opened all ports.
func (s *Server) Serving() <-chan struct{} { return s.serving }

// warmUp verifies all images, and again after each reload, so that the first
// machine need not wait for it.
func (s *Server) warmUp(ctx context.Context) error {
	for {
		for _, ref := range s.site.Load().Images() {
			if ctx.Err() != nil {
				return nil
			}
			if _, err := s.offer(ref); err != nil {
				s.log.Error("image cannot be booted", "image", ref.String(), "err", err)
			}
		}
		select {
		case <-s.verify:
		case <-ctx.Done():
			return nil
		}
	}
}

// open opens all sockets, or none: the error then names every one that failed.
func (s *Server) open(ctx context.Context) ([]service, error) {
	var services []service
	var closers []func() error
	var errs []error
	fail := func(name, network string, at netip.AddrPort, n Network, err error) {
		errs = append(errs, explain(name, network, at, n, err))
	}
	site := s.site.Load()
	handler := bootweb.Handler(s.web, webSide{s})
	n := site.Networks[0]
	for _, err := range s.dhcp.Listen() {
		n, _ := site.network(err.Network)
		fail("dhcp", "udp", netip.AddrPortFrom(n.Server, err.Port), n, err.Err)
	}
	services = append(services, service{"dhcp", s.dhcp.Serve})
	for _, n := range site.Networks {
		if n.Interface != "" {
			services = append(services, service{"router advertisements", s.advertiser(n).Run})
		}
	}
	for _, n := range site.Networks {
		if n.Interface == "" || !n.Server6.IsValid() {
			continue
		}
		if conn, err := dhcp6.Listen(ctx, n.Interface); err != nil {
			fail("dhcpv6", "udp", netip.AddrPortFrom(n.Server6, 547), n, err)
		} else {
			services = append(services, service{"dhcpv6", func(ctx context.Context) error { return s.dhcp6.Serve(ctx, conn, n.Interface) }})
			closers = append(closers, conn.Close)
		}
	}
	for _, address := range site.addresses() {
		n := site.networkOf(address)
		at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(address, port) }
		if conn, err := tftp.Listen(ctx, at(69)); err != nil {
			fail("tftp", "udp", at(69), n, err)
		} else {
			services = append(services, service{"tftp", func(ctx context.Context) error { return s.tftp.Serve(ctx, conn) }})
			closers = append(closers, conn.Close)
		}
		var lc net.ListenConfig
		if l, err := lc.Listen(ctx, "tcp", at(site.HTTPPort).String()); err != nil {
			fail("http", "tcp", at(site.HTTPPort), n, err)
		} else {
			services = append(services, service{"http", func(ctx context.Context) error { return bootweb.Serve(ctx, l, handler, s.log) }})
			closers = append(closers, l.Close)
		}
	}
	// The seeder comes last: it alone starts something when it opens its port.
	if len(errs) == 0 {
		at := site.seeder(n)
		if len(site.addresses()) > 1 {
			at = netip.AddrPortFrom(netip.IPv4Unspecified(), site.SwarmPort)
		}
		if seed, err := seeder.New(at, s.log); err != nil {
			fail("seeder", "tcp", at, n, err)
		} else {
			s.mu.Lock()
			s.seeder = seed
			s.mu.Unlock()
			services = append(services, service{"seeder", seed.Run})
		}
	}
	if len(errs) > 0 {
		for _, close := range closers {
			close()
		}
		return nil, errors.Join(errs...)
	}
	return services, nil
}

// advertiser answers the machines of n that look for an IPv6 router, as the config
// in force has n then.
func (s *Server) advertiser(n Network) *ra.Server {
	network := func() (now Network, ok bool) {
		now, ok = s.site.Load().network(n.Name)
		return now, ok && now.Interface == n.Interface && now.Mode != Off
	}
	return ra.New(ra.Config{
		Interface: n.Interface,
		Prefix: func() netip.Prefix {
			if now, ok := network(); ok {
				return now.Subnet6
			}
			return netip.Prefix{}
		},
		Known: func(mac net.HardwareAddr) bool {
			now, ok := network()
			_, listed := s.site.Load().machines[mac.String()]
			return ok && (listed || now.Unknown != Deny)
		},
		Log: s.log,
	})
}

// explain says what an admin can do about a port that cannot be opened.
func explain(service, network string, at netip.AddrPort, n Network, err error) error {
	remedy := "is the network up?"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = fmt.Sprintf("another program has the port; ss -lnp 'sport = :%d' names it", at.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = fmt.Sprintf("this host has no such address; ip address add %s dev %s gives it", netip.PrefixFrom(n.Server, n.Subnet.Bits()), cmp.Or(n.Interface, "INTERFACE"))
	case errors.Is(err, syscall.ENODEV):
		remedy = fmt.Sprintf("there is no interface %s; ip link lists them", n.Interface)
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		remedy = "run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW"
	}
	return fmt.Errorf("%s cannot listen on %s %s: %w (%s)", service, network, at, err, remedy)
}
