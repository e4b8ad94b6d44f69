package bootserver

import (
	"errors"
	"fmt"
	"slices"

	"swarmboot/initramfs/envelope"
)

// Reload puts another config in force, as a whole or not at all: after an error
// everything is as before. Boots that run go on: a machine that has fetched the
// script of one image is told of that image until it starts anew.
func (s *Server) Reload(cfg Config) error {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	now, next := s.site.Load(), newSite(cfg)
	if err := needsRestart(now, next); err != nil {
		return err
	}
	if err := s.haveImages(next); err != nil {
		return err
	}
	if err := CheckKernels(cfg, s.catalogue.Get); err != nil {
		return err
	}
	if err := s.dhcp.Reload(next.dhcpNetworks()); err != nil {
		return err
	}
	if err := s.dhcp6.Reload(next.dhcp6Networks()); err != nil {
		return errors.Join(err, s.dhcp.Reload(now.dhcpNetworks()))
	}
	s.site.Store(next)
	s.fleet.Expect(next.known())
	wake(s.verify)
	if s.mirror != nil {
		s.mirror.Look()
	}
	s.log.Info("config reloaded", "networks", len(next.Networks), "machines", len(next.Machines))
	return nil
}

// Trust has machines believe, from their next boot on, what these keys have signed
// besides the server's own. Images and profiles that none of them has signed are
// not offered any more. After an error everything is as before.
func (s *Server) Trust(keys []envelope.PublicKey) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if slices.EqualFunc(keys, s.catalogue.Trusted(), func(a, b envelope.PublicKey) bool { return a.ID() == b.ID() }) {
		return nil
	}
	if err := s.trust(keys); err != nil {
		return err
	}
	wake(s.verify)
	if s.mirror != nil {
		s.mirror.Look()
	}
	s.log.Info("trusted keys reloaded", "keys", len(keys))
	return nil
}

// InForce is the config in force.
func (s *Server) InForce() Config { return s.site.Load().Config }

// NeedsRestart is why a server with one config in force would refuse another until
// it is started anew; nil: it would not.
func NeedsRestart(now, next Config) error {
	return needsRestart(newSite(now.WithDefaults()), newSite(next.WithDefaults()))
}

// needsRestart names what differs and cannot change while sockets are open and
// files are mapped.
func needsRestart(now, next *site) error {
	var changed []string
	for _, c := range []struct {
		key  string
		same bool
	}{
		{"server.http", now.HTTPPort == next.HTTPPort},
		{"server.swarm", now.SwarmPort == next.SwarmPort},
		{"server.state", now.State == next.State},
		{"server.loaders", now.Loaders == next.Loaders},
		{"server.initramfs", now.Initramfs == next.Initramfs},
		{"origin", now.Origin == next.Origin},
	} {
		if !c.same {
			changed = append(changed, c.key)
		}
	}
	for _, address := range next.addresses() {
		if !slices.Contains(now.addresses(), address) {
			key := "address"
			if address.Is6() {
				key = "address6"
			}
			changed = append(changed, fmt.Sprintf("networks.%s.%s", next.networkOf(address).Name, key))
		}
	}
	// DHCPv6 and router advertisements stay on their interface.
	for _, n := range next.Networks {
		if old, known := now.network(n.Name); known && n.Interface != "" && old.Server6.IsValid() && (old.Interface != n.Interface || old.Server6 != n.Server6) {
			changed = append(changed, fmt.Sprintf("networks.%s.address6", n.Name))
		}
	}
	if len(changed) > 0 {
		return fmt.Errorf("%v can only change with a restart of the server; running machines do not notice one", changed)
	}
	return nil
}
