// Package settings reads the admin's one YAML file and gives the boot server
// its Config.
//
// The commands check, serve, diff and explain call Load. It tells every mistake
// of the file at once, each with line and column: decode.go reads the YAML into
// a File (file.go), scalars.go and ranges.go its single values; networks.go and
// machines.go compare them with each other and with the catalogue, webhooks.go
// looks at who is told what, power.go at how machines are switched; inherit.go finds what each machine has from its
// network, rack and group, and identity.go the files that it gets. adopt.go and
// begin.go write the file, for machine adopt and setup; packages lab and training
// write their own with Quote.
package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"swarmboot/appliance/internal/power"
	"swarmboot/bootserver"
	"swarmboot/images"
	"swarmboot/images/origin"

	"go.yaml.in/yaml/v3"
)

// Offered lists the images of a state folder.
type Offered func(state string) ([]images.Ref, error)

// Load reads the settings file at path. Files and folders named in it are
// relative to its own folder. Mistakes in the file are returned as Problems.
func Load(path string, offered Offered) (*Settings, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return parse(path, data, offered)
}

// Complete are settings with nothing left to look up: each machine has what it
// inherits. A running server tells those that it has in force, and Diff compares.
type Complete struct {
	bootserver.Config
	Admin  Admin
	Hooks  []Hook // in the order of their names
	Traces Traces
	Power  map[string]power.Machine // machines that can be switched on and off, by MAC
}

// Settings are those of one file without mistakes.
type Settings struct {
	Complete
	file    File
	decoder *decoder
	places  map[string]place      // of listed machines, by MAC
	refs    map[string]images.Ref // what image values stand for, by path
}

func parse(path string, data []byte, offered Offered) (*Settings, error) {
	s := &Settings{file: defaults(), decoder: newDecoder(path), places: map[string]place{}}
	s.Power = map[string]power.Machine{}
	s.decoder.document(data, &s.file)
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	server := &s.file.Server
	for _, name := range []*string{&server.State, &server.Loaders, &server.Initramfs, &s.file.Origin.Credentials} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	s.Config = bootserver.Config{
		HTTPPort: server.HTTP, SwarmPort: server.Swarm,
		State: server.State, Loaders: server.Loaders, Initramfs: server.Initramfs,
		Origin: origin.Config(s.file.Origin),
	}
	s.Admin, s.Traces = s.file.Admin, s.file.Traces
	for _, name := range []*string{&s.Admin.Certificate, &s.Admin.Key} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	if (s.Admin.Certificate == "") != (s.Admin.Key == "") {
		s.decoder.fail("admin", "has one of certificate and key; name both, or none")
	}
	for name, hook := range s.file.Webhooks {
		if hook.Secret != "" && !filepath.IsAbs(hook.Secret) {
			hook.Secret = filepath.Join(dir, hook.Secret)
			s.file.Webhooks[name] = hook
		}
	}
	c := &checker{decoder: s.decoder, file: &s.file, settings: s, dir: dir, sources: map[string][]source{}, userData: map[string]bootserver.File{}}
	c.check(offered)
	s.refs = c.refs
	if problems := s.decoder.problems; len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	if err := s.Config.Validate(); err != nil { // what the boot server alone knows
		return nil, Problems{{File: path, Text: oneLine(err)}}
	}
	return s, nil
}

// A checker tells the decoder's problems what in the file cannot be meant, and
// fills in the Config meanwhile. A value that did not decode is zero here; what
// is then said about it, fail leaves out.
type checker struct {
	*decoder
	file      *File
	settings  *Settings
	offered   []images.Ref
	unoffered error                      // why others of the catalogue are not
	refs      map[string]images.Ref      // what image values stand for, by path
	dir       string                     // of the settings file
	sources   map[string][]source        // files, by the path of their level
	userData  map[string]bootserver.File // for cloud-init, likewise
}

func (c *checker) check(offered Offered) {
	c.checkOrigin()
	c.checkImages(offered)
	c.checkNetworks()
	c.checkRacks()
	c.checkMachines()
	c.checkWays()
	c.checkWebhooks()
	c.checkURL("traces.url", c.file.Traces.URL, "http://127.0.0.1:4318/v1/traces")
}

func newDecoder(source string) *decoder {
	return &decoder{source: source, places: map[string]*yaml.Node{}, broken: map[string]bool{}, order: map[string][]string{}}
}

// oneLine joins the lines of a joined error.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
