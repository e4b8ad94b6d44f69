package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"

	"swarmboot/images/internal/decompress"
	"swarmboot/images/internal/tool"
)

// archiveModules writes the archive that follows the common initramfs: those of
// the modules in the folder from that booting over the network needs (the lists
// are in modulelist.go), with the indexes of depmod made for just them.
//
// The modules lie in it uncompressed, since unpacking each of them on the
// machine took 15 times as long as unpacking the whole, and otherwise byte for
// byte as signed.
func archiveModules(ctx context.Context, log *slog.Logger, from, out string) error {
	release := filepath.Base(from)
	all, err := readIndex(os.DirFS(from))
	if err != nil {
		return fmt.Errorf("modules of kernel %s: %w", release, err)
	}
	chosen, err := all.choose(mustHave, mayHave)
	if err != nil {
		return fmt.Errorf("modules of kernel %s: %w", release, err)
	}
	tree := out + ".tree"
	to := filepath.Join(tree, "lib", "modules", release)
	for _, name := range chosen {
		if err := copyModule(filepath.Join(from, name), filepath.Join(to, uncompressed(name))); err != nil {
			return err
		}
	}
	for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		if err := copyModule(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	if err := tool.Run(log, exec.CommandContext(ctx, "depmod", "-b", tree, release), nil); err != nil {
		return err
	}
	log.Info("modules chosen", "kernel", release, "count", len(chosen))
	return packModules(tree, out)
}

// index is what depmod knows of the modules in one folder. Names are written
// with underscores, paths are relative to the folder.
type index struct {
	path    map[string]string   // of a module, by its name
	needs   map[string][]string // names of modules that go with one, by its name
	alias   map[string][]string // names of modules, by another name without wildcards
	builtin map[string]bool     // names of modules inside the kernel
}

func readIndex(dir fs.FS) (*index, error) {
	x := &index{make(map[string]string), make(map[string][]string), make(map[string][]string), make(map[string]bool)}
	for _, file := range []struct {
		name string
		line func(words []string)
	}{
		{"modules.dep", func(words []string) { // path: path path
			p := strings.TrimSuffix(words[0], ":")
			x.path[moduleName(p)] = p
			for _, other := range words[1:] {
				x.needs[moduleName(p)] = append(x.needs[moduleName(p)], moduleName(other))
			}
		}},
		{"modules.softdep", x.soft},
		{"modules.weakdep", x.soft},
		{"modules.alias", func(words []string) { // alias name module
			if len(words) == 3 && !strings.ContainsAny(words[1], "*?[") {
				other := moduleName(words[1])
				x.alias[other] = append(x.alias[other], moduleName(words[2]))
			}
		}},
		{"modules.builtin", func(words []string) { x.builtin[moduleName(words[0])] = true }},
	} {
		data, err := fs.ReadFile(dir, file.name)
		if errors.Is(err, fs.ErrNotExist) && file.name == "modules.weakdep" { // kmod before 33 has none
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
				file.line(words)
			}
		}
	}
	return x, nil
}

// soft reads "softdep name pre: name name post: name", and weakdep likewise.
// Its names may be aliases.
func (x *index) soft(words []string) {
	if len(words) < 2 {
		return
	}
	name := moduleName(words[1])
	for _, word := range words[2:] {
		if word != "pre:" && word != "post:" {
			x.needs[name] = append(x.needs[name], moduleName(word))
		}
	}
}

// choose returns the paths of the named modules and of all that go with them,
// in order. It is an error if the kernel has one of must in no form.
func (x *index) choose(must, may []string) ([]string, error) {
	for _, name := range must {
		if x.path[name] == "" && !x.builtin[name] {
			return nil, fmt.Errorf("%s is neither a module nor built in; choose another kernel package", name)
		}
	}
	chosen := make(map[string]bool)
	var take func(name string)
	take = func(name string) {
		p, isModule := x.path[name]
		if !isModule {
			for _, other := range x.alias[name] {
				if other != name {
					take(other)
				}
			}
			return
		}
		if chosen[p] {
			return
		}
		chosen[p] = true
		for _, other := range x.needs[name] {
			take(other)
		}
	}
	for _, name := range slices.Concat(must, may) {
		take(name)
	}
	var paths []string
	for p := range chosen {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths, nil
}

// moduleName turns kernel/drivers/net/foo-bar.ko.xz into foo_bar, the name that
// the kernel uses. It leaves a name as it is.
func moduleName(p string) string {
	name, _, _ := strings.Cut(path.Base(p), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// uncompressed is the name of a module's file once it is decompressed.
func uncompressed(name string) string {
	if i := strings.LastIndex(name, ".ko."); i >= 0 {
		return name[:i+len(".ko")]
	}
	return name
}

// copyModule copies a file and decompresses it if it is compressed. A module's
// signature is inside, at its end.
func copyModule(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := decompress.Reader(in)
	if err != nil {
		return fmt.Errorf("decompress %s: %w", from, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// packModules writes the tree as a compressed cpio archive, the same one for
// the same tree. Left out are depmod's binary indexes, which only the modprobe
// written in C reads: ours reads the text.
func packModules(tree, out string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	// The kernel keeps a window of this size in memory while it unpacks.
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	w := cpio.Newc.Writer(z)
	err = fs.WalkDir(os.DirFS(tree), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			return w.WriteRecord(cpio.MakeReproducible(cpio.Directory(name, 0o755)))
		}
		if strings.HasSuffix(name, ".bin") || strings.HasSuffix(name, "modules.symbols") {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			return err
		}
		file := cpio.StaticRecord(data, cpio.Info{Name: name, Mode: cpio.S_IFREG | 0o644})
		return w.WriteRecord(cpio.MakeReproducible(file))
	})
	if err == nil {
		err = cpio.WriteTrailer(w)
	}
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return nil
}
