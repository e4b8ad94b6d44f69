package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// An Adoption is a machine to be listed.
type Adoption struct {
	MAC                                        net.HardwareAddr
	Name, Rack, Group, Network, Address, Image string // each may be empty
}

// ErrListed says that a machine stands in the settings file already.
var ErrListed = errors.New("is listed already")

// Adopt writes a into the settings file at path, below the machines that are
// listed there, and changes nothing else: comments, blank lines and the order of
// things are their author's. The file is replaced only if it is without mistakes
// then, which are returned as Problems otherwise.
func Adopt(path string, a Adoption, offered Offered) error {
	path, err := filepath.EvalSymlinks(path) // the file itself is replaced, not a link to it
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	before, err := parse(path, data, offered)
	if err != nil {
		return err
	}
	if where, listed := before.places[a.MAC.String()]; listed {
		entry := item("machines", where.entry)
		return fmt.Errorf("machine %s %w: %s:%d, %s", a.MAC, ErrListed, path, before.decoder.place(entry).Line, entry)
	}
	edited, err := a.insert(data)
	if err != nil {
		return fmt.Errorf("%s: %w; write it in by hand:\n%s", path, err, a.text("  "))
	}
	after, err := parse(path, edited, offered)
	if err != nil {
		return err
	}
	if _, listed := after.places[a.MAC.String()]; !listed || len(after.Machines) != len(before.Machines)+1 {
		return fmt.Errorf("%s: the list of machines is written in a way that cannot be added to; write it in by hand:\n%s", path, a.text("  "))
	}
	return replace(path, edited)
}

// text is the entry of a, with its dash indented.
func (a Adoption) text(indent string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s- mac: %s\n", indent, a.MAC)
	for _, f := range []struct{ key, value string }{
		{"name", a.Name}, {"rack", a.Rack}, {"group", a.Group}, {"network", a.Network}, {"address", a.Address}, {"image", a.Image},
	} {
		if f.value != "" {
			value, err := yaml.Marshal(f.value) // quoted, where it must be
			if err == nil {
				fmt.Fprintf(&b, "%s  %s: %s", indent, f.key, value)
			}
		}
	}
	return b.String()
}

// insert adds a to the list of machines in data, which is without mistakes.
func (a Adoption) insert(data []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(data), "\n")
	if last := len(lines) - 1; lines[last] != "" {
		lines[last] += "\n"
	} else {
		lines = lines[:last]
	}
	top := doc.Content[0]
	if top.Style&yaml.FlowStyle != 0 {
		return nil, errors.New("it is written in braces")
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, list := top.Content[i], top.Content[i+1]
		if key.Value != "machines" {
			continue
		}
		after, indent := key.Line, "  "
		switch {
		case list.Kind == yaml.SequenceNode && len(list.Content) > 0 && list.Style&yaml.FlowStyle == 0:
			after, indent = lastLine(list), strings.Repeat(" ", list.Column-1)
		case list.ShortTag() != "!!null" || list.Value != "":
			return nil, errors.New("its machines are written in brackets")
		}
		lines = append(lines[:after], append([]string{a.text(indent)}, lines[after:]...)...)
		return []byte(strings.Join(lines, "")), nil
	}
	return []byte(strings.Join(lines, "") + "\nmachines:\n" + a.text("  ")), nil
}

// lastLine is the line on which the last value in n begins.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, child := range n.Content {
		last = max(last, lastLine(child))
	}
	return last
}

// replace puts data in the place of a file, which keeps its mode and owner, so
// that no reader ever sees half of it.
func replace(path string, data []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	defer os.Remove(temp.Name()) // in vain once it is renamed
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(info.Mode().Perm()), keepOwner(temp, info), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// keepOwner gives f to the owner of the file that it replaces. Only root can: a
// server that runs as another user keeps it.
func keepOwner(f *os.File, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	err := f.Chown(int(stat.Uid), int(stat.Gid))
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return nil
	}
	return err
}
