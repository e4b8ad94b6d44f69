// The layout of the repository, as rules that are checked. They are read from
// the files themselves with go/parser: a test that ran 'go list' would be
// answered from the test cache.
package appliance_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the first word of our own import paths.
const module = "swarmboot"

// folders in the order of imports: each uses itself and those after it.
var folders = []string{"appliance", "bootserver", "peerd", "images", "initramfs"}

// homes says which packages may import a library from outside: a directory, or
// a directory and all below it (dir/...). golang.org/x may be used anywhere.
var homes = map[string][]string{
	"charm.land/bubbletea":                   {"appliance/internal/watch"},
	"github.com/anacrolix":                   {"images/metainfo", "peerd/announce", "peerd/swarm/..."},
	"github.com/bougou/go-ipmi":              {"appliance/internal/power"},
	"github.com/charmbracelet/x":             {"appliance/internal/watch"}, // ansi
	"github.com/coreos/go-systemd":           {"appliance/cmd/swarmboot"},
	"github.com/danielgtaylor/huma":          {"appliance/internal/api"},
	"github.com/creack/pty":                  {"images/internal/tool"},
	"github.com/diskfs/go-diskfs":            {"initramfs/internal/writes", "peerd/internal/install"},
	"github.com/dustin/go-humanize":          {"appliance/cmd/...", "appliance/internal/lab", "appliance/internal/table"},
	"github.com/foxboron/go-uefi":            {"bootserver/loaders"},
	"github.com/google/go-containerregistry": {"images/importer", "appliance/cmd/mkoci", "appliance/e2e"},
	"github.com/google/renameio":             {"initramfs/wholefile"},
	"github.com/hanwen/go-fuse":              {"peerd/internal/rootfs/..."},
	"github.com/insomniacslk/dhcp":           {"bootserver/internal/dhcp", "bootserver/internal/dhcp6", "initramfs/internal/netup"},
	"github.com/invopop/jsonschema":          {"appliance/internal/settings"}, // its test alone
	"github.com/klauspost/compress":          {"images/builder", "images/internal/decompress", "initramfs/..."},
	"github.com/minio/minio-go":              {"images/origin"},
	"github.com/mdlayher/ndp":                {"bootserver/internal/ra"},
	"github.com/mdlayher/packet":             {"bootserver/internal/dhcp"},
	"github.com/pin/tftp":                    {"bootserver/internal/tftp"},
	"github.com/prometheus/client_golang":    {"appliance/internal/metrics"},
	"github.com/santhosh-tekuri/jsonschema":  {"appliance/internal/settings"}, // its test alone
	"github.com/secure-systems-lab":          {"initramfs/envelope"},
	"github.com/spf13/cobra":                 {"appliance/cmd/..."},
	"github.com/stmcginnis/gofish":           {"appliance/internal/power"},
	"github.com/u-root/gobusybox":            {"initramfs/..."},
	"github.com/u-root/mkuimage":             {"images/builder", "initramfs/..."}, // in both: writing cpio archives
	"github.com/u-root/u-root":               {"initramfs/..."},
	"github.com/u-root/uio":                  {"initramfs/..."},
	"github.com/ulikunitz/xz":                {"bootserver/loaders", "images/builder", "images/internal/decompress"},
	"github.com/vbauerster/mpb":              {"appliance/cmd/swarmboot"},
	"github.com/vishvananda/netlink":         {"initramfs/internal/netup"},
	"go.etcd.io/bbolt":                       {"bootserver/internal/leasestore"},
	"go.opentelemetry.io":                    {"appliance/internal/traces", "appliance/e2e"},
	"google.golang.org/protobuf":             {"appliance/internal/traces", "appliance/e2e"}, // tests alone
	"go.yaml.in/yaml":                        {"appliance/internal/settings"},
}

// A source is one parsed file.
type source struct {
	name string // slash-separated path from the root of the repository
	ast  *ast.File
}

func (s source) dir() string  { return path.Dir(s.name) }
func (s source) test() bool   { return strings.HasSuffix(s.name, "_test.go") }
func (s source) isMain() bool { return s.ast.Name.Name == "main" }

// imports are the import paths of the file.
func (s source) imports() (paths []string) {
	for _, spec := range s.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// A rule returns what in the files breaks it.
var rules = map[string]func([]source) []string{
	"imports flow one way":              importsFlowOneWay,
	"libraries stay in their homes":     librariesStayHome,
	"mains are folder/cmd/program":      mainsHaveTheirPlace,
	"every package says what it is for": packagesAreDocumented,
	"only a main ends the process":      onlyMainExits,
}

func TestLayout(t *testing.T) {
	files := readSources(t, "..")
	for name, rule := range rules {
		for _, fault := range rule(files) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

// TestRulesCatch shows each rule a file that breaks it, and one that does not.
func TestRulesCatch(t *testing.T) {
	for _, c := range []struct{ rule, name, bad, good string }{
		{"imports flow one way", "images/x.go", `package images; import "swarmboot/peerd/swarm"`, `package images; import "swarmboot/initramfs/stage"`},
		{"imports flow one way", "bootserver/x_test.go", `package bootserver; import "swarmboot/appliance/internal/table"`, `package bootserver; import "swarmboot/bootserver/internal/dhcp"`},
		{"imports flow one way", "tools/x.go", `package tools`, ``},
		{"libraries stay in their homes", "bootserver/x.go", `package x; import "github.com/hanwen/go-fuse/v2/fuse"`, `package x; import "golang.org/x/sys/unix"`},
		{"libraries stay in their homes", "peerd/swarmx/x.go", `package x; import "github.com/anacrolix/torrent"`, `package x; import "go/ast"`},
		{"libraries stay in their homes", "peerd/x.go", `package x; import "example.org/new"`, `package x; import "swarmboot/images"`},
		{"mains are folder/cmd/program", "peerd/main.go", `package main; func main() {}`, `package peerd`},
		{"mains are folder/cmd/program", "peerd/cmd/peerd/peerd.go", `package main; func main() {}`, ``},
		{"mains are folder/cmd/program", "peerd/cmd/peerd/main.go", `package peerd`, `package main; func main() {}`},
		{"every package says what it is for", "images/x.go", `package images`, "// Package images holds nouns.\npackage images"},
		{"every package says what it is for", "images/x.go", "// A remark.\npackage images", ``},
		{"only a main ends the process", "images/x.go", `package images; import "os"; func f() { os.Exit(1) }`, `package images; import "os"; func f() { os.Getpid() }`},
		{"only a main ends the process", "images/x.go", `package images; import "log"; func f() { log.Fatalf("") }`, `package main; import "log"; func f() { log.Fatal() }`},
	} {
		if got := rules[c.rule](parse(t, c.name, c.bad)); len(got) == 0 {
			t.Errorf("%s: nothing said about %s: %s", c.rule, c.name, c.bad)
		}
		if c.good != "" {
			if got := rules[c.rule](parse(t, c.name, c.good)); len(got) > 0 {
				t.Errorf("%s: %v; want nothing about %s: %s", c.rule, got, c.name, c.good)
			}
		}
	}
}

func importsFlowOneWay(files []source) (faults []string) {
	for _, f := range files {
		from, _, _ := strings.Cut(f.name, "/")
		if !slices.Contains(folders, from) {
			faults = append(faults, fmt.Sprintf("%s is in none of the folders %v", f.name, folders))
			continue
		}
		for _, imported := range f.imports() {
			own, found := strings.CutPrefix(imported, module+"/")
			if !found {
				continue
			}
			to, _, _ := strings.Cut(own, "/")
			if slices.Index(folders, to) < slices.Index(folders, from) {
				faults = append(faults, fmt.Sprintf("%s imports %s", f.name, imported))
			}
		}
	}
	return faults
}

func librariesStayHome(files []source) (faults []string) {
	for _, f := range files {
		for _, imported := range f.imports() {
			if host, _, _ := strings.Cut(imported, "/"); !strings.Contains(host, ".") || within(imported, "golang.org/x/...") {
				continue // ours, or Go's own
			}
			if library, known := libraryOf(imported); !known {
				faults = append(faults, fmt.Sprintf("%s imports %s, which has no home; name one in homes", f.name, imported))
			} else if !slices.ContainsFunc(homes[library], func(home string) bool { return within(f.dir(), home) }) {
				faults = append(faults, fmt.Sprintf("%s imports %s, whose home is %v", f.name, imported, homes[library]))
			}
		}
	}
	return faults
}

func libraryOf(imported string) (library string, known bool) {
	for library := range homes {
		if within(imported, library+"/...") {
			return library, true
		}
	}
	return "", false
}

// within tells whether dir is home, or below it where home ends in "/...".
func within(dir, home string) bool {
	top, below := strings.CutSuffix(home, "/...")
	return dir == top || below && strings.HasPrefix(dir, top+"/")
}

var program = regexp.MustCompile(`^[a-z]+/cmd/[a-z0-9]+$`)

func mainsHaveTheirPlace(files []source) (faults []string) {
	for _, f := range files {
		switch place := program.MatchString(f.dir()); {
		case f.isMain() && !place:
			faults = append(faults, fmt.Sprintf("%s is package main; its place is <folder>/cmd/<program>", f.name))
		case !f.isMain() && place && !f.test():
			faults = append(faults, fmt.Sprintf("%s is package %s; a program's folder holds package main", f.name, f.ast.Name.Name))
		case f.isMain() && declaresMain(f.ast) && path.Base(f.name) != "main.go":
			faults = append(faults, fmt.Sprintf("%s holds func main; its file is main.go", f.name))
		}
	}
	return faults
}

func declaresMain(file *ast.File) bool {
	return slices.ContainsFunc(file.Decls, func(decl ast.Decl) bool {
		f, ok := decl.(*ast.FuncDecl)
		return ok && f.Recv == nil && f.Name.Name == "main"
	})
}

func packagesAreDocumented(files []source) (faults []string) {
	documented := map[string]bool{} // by directory
	for _, f := range files {
		if f.test() {
			continue
		}
		documented[f.dir()] = documented[f.dir()] ||
			f.isMain() && f.ast.Doc.Text() != "" || strings.HasPrefix(f.ast.Doc.Text(), "Package "+f.ast.Name.Name+" ")
	}
	for dir, ok := range documented {
		if !ok {
			faults = append(faults, dir+" has no package comment")
		}
	}
	return faults
}

var enders = regexp.MustCompile(`^(os\.Exit|log\.(Fatal|Panic)(f|ln)?)$`)

func onlyMainExits(files []source) (faults []string) {
	for _, f := range files {
		if f.isMain() || f.test() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && enders.MatchString(pkg.Name+"."+sel.Sel.Name) && slices.Contains(f.imports(), pkg.Name) {
					faults = append(faults, fmt.Sprintf("%s calls %s.%s; return an error", f.name, pkg.Name, sel.Sel.Name))
				}
			}
			return true
		})
	}
	return faults
}

// readSources parses every Go file below root.
func readSources(t *testing.T, root string) (files []source) {
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := entry.Name(); entry.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "build") {
			return fs.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files = append(files, parse(t, filepath.ToSlash(rel), string(text))...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no Go files below %s", root)
	}
	return files
}

func parse(t *testing.T, name, text string) []source {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return []source{{name, file}}
}
