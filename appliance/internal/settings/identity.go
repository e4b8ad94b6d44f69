package settings

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"swarmboot/bootserver"
	"swarmboot/initramfs/bootargs"
)

// A source is one file of a level, read.
type source struct {
	at   string // where it stands in the settings
	file bootserver.File
	text *template.Template // nil: the content is meant as it stands
}

// A subject is what the template of a file may ask for.
type subject struct {
	Name, MAC, Address, Rack, Group, Network string
}

// checkFiles reads the files of the level at path.
func (c *checker) checkFiles(path string, b Boot) {
	for i, f := range b.Files {
		at := item(path+".files", i)
		if c.broken[at] {
			continue
		}
		s := source{at: at}
		content, mode := f.Content, f.Mode
		switch {
		case f.Path == "":
			c.fail(at+".path", "is missing; want the place of the file on the machine, such as /etc/motd")
			continue
		case (f.Content == "") == (f.Source == ""):
			c.fail(at, "want one of content, the text itself, and source, a file on this server")
			continue
		case f.Source != "":
			data, ok := c.read(at+".source", f.Source)
			if !ok {
				continue
			}
			content = data
		}
		if mode == 0 {
			mode = 0o644
		}
		s.file = bootserver.NewFile(f.Path, mode, content)
		if err := (bootargs.File{Path: f.Path, Mode: mode}).Validate(); err != nil {
			c.fail(at+".path", "%v", err)
			continue
		}
		if f.Template != nil && *f.Template {
			var err error
			if s.text, err = template.New(f.Path).Parse(content); err == nil {
				_, err = s.expand(subject{})
			}
			if err != nil {
				c.fail(at, "is no template: %v; it may ask for {{.Name}}, {{.MAC}}, {{.Address}}, {{.Rack}}, {{.Group}} and {{.Network}}", err)
				continue
			}
		}
		c.sources[path] = append(c.sources[path], s)
	}
	if b.UserData != "" {
		if content, ok := c.read(path+".user_data", b.UserData); ok {
			c.userData[path] = bootserver.NewFile(c.beside(b.UserData), 0o600, content)
		}
	}
}

// read reads a file that the settings name.
func (c *checker) read(at, name string) (content string, ok bool) {
	const most = 1 << 20
	data, err := os.ReadFile(c.beside(name))
	switch {
	case err != nil:
		if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
			err = wrapped.Err
		}
		c.fail(at, "%s: %v", name, err)
		return "", false
	case len(data) > most:
		c.fail(at, "%s has %d bytes; keep to %d, larger files belong into the image", name, len(data), most)
		return "", false
	}
	return string(data), true
}

// beside is a file's path, by itself or from the folder of the settings file.
func (c *checker) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// files are those of a machine: of all levels, the inner one where two have the
// same path.
func (c *checker) files(p place, m bootserver.Machine) (all []bootserver.File) {
	who := subject{Name: m.Name, MAC: m.MAC.String(), Rack: m.Rack, Group: m.Group, Network: m.Network}
	if m.Address.IsValid() {
		who.Address = m.Address.String()
	}
	at := map[string]int{}
	for _, l := range c.file.levels(p) {
		for _, s := range c.sources[l.path] {
			f, err := s.expand(who)
			if err != nil {
				c.fail(s.at, "for machine %s: %v", m.MAC, err)
				continue
			}
			i, there := at[f.Path]
			if !there {
				i = len(all)
				at[f.Path] = i
				all = append(all, f)
			}
			all[i] = f
		}
	}
	return all
}

// expand is the file as one machine gets it.
func (s source) expand(who subject) (bootserver.File, error) {
	if s.text == nil {
		return s.file, nil
	}
	var b strings.Builder
	if err := s.text.Execute(&b, who); err != nil {
		return bootserver.File{}, err
	}
	return bootserver.NewFile(s.file.Path, s.file.Mode, b.String()), nil
}
