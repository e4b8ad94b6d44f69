// Package modules loads the kernel modules that a boot needs: some by name, and
// the drivers that the hardware asks for.
//
// A Tree is what depmod wrote about one kernel's modules (tree.go, pure); it
// plans the order in which modules load, soft dependencies included, which
// nobody else honours here: there is no modprobe for the kernel to call. A
// Loader (load.go) carries the plans out. init and netup are the callers.
package modules

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A Tree knows the modules of one kernel. Modules go by their names as the
// kernel writes them, with underscores.
type Tree struct {
	file    map[string]string   // module -> file below /lib/modules/RELEASE
	needs   map[string][]string // module -> modules whose symbols it uses
	pre     map[string][]string // module -> names to load before it, if they exist
	post    map[string][]string // module -> names to load after it, if they exist
	builtin map[string]bool
	aliases map[string][]alias // by the bus that the pattern begins with
}

type alias struct{ pattern, module string }

// Parse reads the files that depmod leaves in /lib/modules/RELEASE. Only
// modules.dep must exist.
func Parse(dir fs.FS) (*Tree, error) {
	t := &Tree{
		file: map[string]string{}, needs: map[string][]string{}, pre: map[string][]string{}, post: map[string][]string{},
		builtin: map[string]bool{}, aliases: map[string][]alias{},
	}
	for name, parse := range map[string]func(line string){
		"modules.dep": t.parseDep, "modules.builtin": t.parseBuiltin, "modules.softdep": t.parseSoftdep, "modules.alias": t.parseAlias,
	} {
		err := eachLine(dir, name, parse)
		if err != nil && (name == "modules.dep" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("kernel modules: %w", err)
		}
	}
	return t, nil
}

func eachLine(dir fs.FS, name string, parse func(line string)) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a driver's line in modules.dep may be long
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			parse(line)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// kernel/net/a-b.ko: kernel/lib/c.ko kernel/lib/d.ko
func (t *Tree) parseDep(line string) {
	file, needs, _ := strings.Cut(line, ":")
	module := moduleName(file)
	t.file[module] = file
	for _, need := range strings.Fields(needs) {
		t.needs[module] = append(t.needs[module], moduleName(need))
	}
}

// kernel/fs/fuse/fuse.ko
func (t *Tree) parseBuiltin(line string) { t.builtin[moduleName(line)] = true }

// softdep libcrc32c pre: crc32c post: x y
func (t *Tree) parseSoftdep(line string) {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "softdep" {
		return
	}
	module := underscores(fields[1])
	var into map[string][]string
	for _, field := range fields[2:] {
		switch {
		case field == "pre:":
			into = t.pre
		case field == "post:":
			into = t.post
		case into != nil:
			into[module] = append(into[module], underscores(field))
		}
	}
}

// alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000
func (t *Tree) parseAlias(line string) {
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != "alias" {
		return
	}
	pattern := fields[1]
	bus, _, isDevice := strings.Cut(pattern, ":")
	if !isDevice {
		bus, pattern = "", underscores(pattern)
	}
	t.aliases[bus] = append(t.aliases[bus], alias{slashless(pattern), underscores(fields[2])})
}

// ForDevice returns the modules that claim a device by its modalias.
func (t *Tree) ForDevice(modalias string) []string {
	bus, _, _ := strings.Cut(modalias, ":")
	return t.match(bus, modalias)
}

func (t *Tree) match(bus, name string) []string {
	var found []string
	for _, a := range t.aliases[bus] {
		if ok, err := path.Match(a.pattern, slashless(name)); ok && err == nil && !slices.Contains(found, a.module) {
			found = append(found, a.module)
		}
	}
	return found
}

// resolve turns a name, which may be an alias such as crc32c, into modules that
// are files. It is empty for what is built in or unknown.
func (t *Tree) resolve(name string) []string {
	name = underscores(name)
	if t.builtin[name] {
		return nil
	}
	if t.file[name] != "" {
		return []string{name}
	}
	var files []string
	for _, module := range t.match("", name) {
		if t.file[module] != "" && !t.builtin[module] {
			files = append(files, module)
		}
	}
	return files
}

// Knows tells whether name is a module of this kernel, or built into it.
func (t *Tree) Knows(name string) bool {
	return t.builtin[underscores(name)] || len(t.resolve(name)) > 0
}

// Plan lists the modules to load for name, in this order, itself among them.
func (t *Tree) Plan(name string) []string {
	var order []string
	planned := map[string]bool{} // also ends a circle of soft dependencies
	var visit func(names []string)
	visit = func(names []string) {
		for _, name := range names {
			for _, module := range t.resolve(name) {
				if planned[module] {
					continue
				}
				planned[module] = true
				visit(t.pre[module])
				visit(t.needs[module])
				order = append(order, module)
				visit(t.post[module])
			}
		}
	}
	visit([]string{name})
	return order
}

func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return underscores(name)
}

// underscores: the kernel takes '-' and '_' in a module's name as the same.
func underscores(name string) string { return strings.ReplaceAll(name, "-", "_") }

// slashless lets path.Match's '*' match a '/', as fnmatch without FNM_PATHNAME
// does for modprobe.
func slashless(s string) string { return strings.ReplaceAll(s, "/", "\x01") }
