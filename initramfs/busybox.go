package initramfs

import (
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"

	"github.com/u-root/gobusybox/src/pkg/bb"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage/builder"
	"github.com/u-root/mkuimage/uimage/initramfs"
	"github.com/u-root/uio/llog"
	"golang.org/x/tools/go/packages"
)

// busybox builds many commands into one program, which goes by its first or
// second argument. It is u-root's builder with two lacks made up for:
//
//   - What has no dot in the first part of its import path is standard library
//     to u-root, so it leaves our own packages out.
//   - It compiles without modules, and so without a go.mod that tells the Go
//     version. The program would then run with the runtime's settings of Go 1.16,
//     such as math/rand without a seed.
type busybox struct{ builder.GBBBuilder }

// Build adds the program and a link for each command to the archive's files.
func (b busybox) Build(log *llog.Logger, files *initramfs.Files, o builder.Opts) error {
	if err := bb.BuildBusybox(log.AtLevel(slog.LevelInfo), &bb.Opts{
		Env: o.Env, GenSrcDir: o.TempDir, CommandPaths: o.Packages, GoBuildOpts: o.BuildOpts, GenerateOnly: true,
	}); err != nil {
		return fmt.Errorf("write its source: %w", err)
	}
	goVersion, err := copyOwnPackages(o.Env, o.Packages, filepath.Join(o.TempDir, "src"))
	if err != nil {
		return fmt.Errorf("write its source: %w", err)
	}
	source := filepath.Join(o.TempDir, "src/bb.u-root.com/bb")
	setting := "//go:debug default=go" + goVersion + "\n\npackage main\n"
	if err := os.WriteFile(filepath.Join(source, "godebug.go"), []byte(setting), 0o644); err != nil {
		return fmt.Errorf("write its source: %w", err)
	}
	program := filepath.Join(o.TempDir, "bb")
	env := o.Env.Copy(golang.WithGO111MODULE("off"), golang.WithGOPATH(o.TempDir), golang.WithMod(golang.ModNone))
	if err := env.BuildDir(source, program, o.BuildOpts); err != nil {
		return err
	}
	if err := files.AddFile(program, "bbin/bb"); err != nil {
		return err
	}
	for _, command := range o.Packages {
		if err := files.AddRecord(cpio.Symlink(path.Join(o.BinaryDir, path.Base(command)), "bb")); err != nil {
			return err
		}
	}
	return nil
}

// copyOwnPackages copies what the commands use of our own module, and tells the
// Go version that it is written for.
func copyOwnPackages(env *golang.Environ, commands []string, dir string) (goVersion string, err error) {
	used, err := env.Lookup(packages.NeedName|packages.NeedFiles|packages.NeedEmbedFiles|packages.NeedImports|packages.NeedDeps|packages.NeedModule, commands...)
	if err != nil {
		return "", err
	}
	packages.Visit(used, nil, func(p *packages.Package) {
		if err != nil || p.Module == nil || !p.Module.Main {
			return
		}
		goVersion = p.Module.GoVersion
		if p.Name != "main" { // the commands stand there already, rewritten
			err = copyPackage(p, filepath.Join(dir, p.PkgPath))
		}
	})
	return goVersion, err
}

func copyPackage(p *packages.Package, dir string) error {
	for _, list := range [][]string{p.GoFiles, p.OtherFiles, p.EmbedFiles} {
		for _, file := range list {
			name, err := filepath.Rel(filepath.Dir(p.GoFiles[0]), file)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
