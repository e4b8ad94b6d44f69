package loaders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"swarmboot/initramfs/wholefile"
)

// suite is the Debian release that the Files are of.
const suite = "trixie"

// keyring verifies Debian's package lists.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Fetch puts all Files into dir, except those that are there already. They come
// out of Debian's packages, which apt downloads from the mirror that this host
// uses, or out of from, if that is not empty: a folder with those packages (.deb)
// or with the files themselves. Nothing in dir changes before all are verified.
// Progress goes to out.
func Fetch(ctx context.Context, dir, from string, out io.Writer) error {
	var wanted []File
	for _, f := range Files {
		if f.Verify(dir) != nil {
			wanted = append(wanted, f)
		}
	}
	if len(wanted) == 0 {
		fmt.Fprintf(out, "all loaders are in %s already\n", dir)
		return nil
	}
	work, err := os.MkdirTemp("", "swarmboot-loaders-")
	if err != nil {
		return fmt.Errorf("fetch loaders: %w", err)
	}
	defer os.RemoveAll(work)
	source := folder(from)
	if from == "" {
		if source, err = downloads(ctx, work, wanted, out); err != nil {
			return fmt.Errorf("fetch loaders: %w", err)
		}
	}
	files := filepath.Join(work, "loaders")
	if err := collect(ctx, source, wanted, work, files); err != nil {
		return fmt.Errorf("fetch loaders: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("fetch loaders: %w", err)
	}
	for _, f := range wanted {
		data, err := os.ReadFile(filepath.Join(files, f.Name))
		if err == nil {
			err = wholefile.Write(filepath.Join(dir, f.Name), data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("fetch loaders: %w", err)
		}
		fmt.Fprintf(out, "%s: %s\n", filepath.Join(dir, f.Name), f.About)
	}
	return nil
}

// folder is where packages, or the files themselves, lie.
type folder string

// collect puts the wanted files into dir and verifies all of them.
func collect(ctx context.Context, source folder, wanted []File, work, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	unpacked := map[string]string{} // by package and architecture
	var errs []error
	for _, f := range wanted {
		path := filepath.Join(string(source), f.Name)
		if f.Verify(string(source)) != nil {
			key := f.Package + "_" + f.Arch
			if unpacked[key] == "" {
				unpacked[key] = filepath.Join(work, key)
				if err := unpack(ctx, source, f, unpacked[key]); err != nil {
					return err
				}
			}
			path = filepath.Join(unpacked[key], f.Path)
		}
		data, err := read(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.Name), data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		errs = append(errs, f.Verify(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("a release of Debian other than the pinned one, or tampered with; nothing was changed:\n%w", err)
	}
	return nil
}

// read returns the loader that path is, or that is made of what the folder path
// holds.
func read(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return biosGRUB(path)
	}
	return os.ReadFile(path)
}

// unpack extracts the package of f into dir.
func unpack(ctx context.Context, source folder, f File, dir string) error {
	var found []string
	for _, arch := range []string{f.Arch, "all"} {
		names, err := filepath.Glob(filepath.Join(string(source), f.Package+"_*_"+arch+".deb"))
		if err != nil {
			return err
		}
		found = append(found, names...)
	}
	if len(found) != 1 {
		return fmt.Errorf("%s holds neither %s nor one package %s_*_%s.deb", source, f.Name, f.Package, f.Arch)
	}
	return run(exec.CommandContext(ctx, "dpkg-deb", "--extract", found[0], dir))
}

// downloads is a folder with the packages of the files, as the host's mirror has
// them.
func downloads(ctx context.Context, work string, wanted []File, out io.Writer) (folder, error) {
	if _, err := os.Stat(keyring); err != nil {
		return "", fmt.Errorf("%w; install debian-archive-keyring, or name a folder with the packages by --from", err)
	}
	mirror, err := mirror(ctx)
	if err != nil {
		return "", err
	}
	debs := filepath.Join(work, "packages")
	if err := os.Mkdir(debs, 0o755); err != nil {
		return "", err
	}
	packages := map[string][]string{} // by architecture
	seen := map[string]bool{}
	for _, f := range wanted {
		if key := f.Package + f.Arch; !seen[key] {
			seen[key] = true
			packages[f.Arch] = append(packages[f.Arch], f.Package)
		}
	}
	for arch, names := range packages {
		fmt.Fprintf(out, "fetching %s of Debian %s (%s) from %s\n", strings.Join(names, ", "), suite, arch, mirror)
		apt, err := newApt(filepath.Join(work, "apt-"+arch), mirror, arch)
		if err != nil {
			return "", err
		}
		if err := run(apt.command(ctx, debs, "update")); err != nil {
			return "", err
		}
		if err := run(apt.command(ctx, debs, append([]string{"download"}, names...)...)); err != nil {
			return "", err
		}
	}
	return folder(debs), nil
}

// aMirror is an URL of Debian proper, not of its security fixes or of others.
var aMirror = regexp.MustCompile(`(?m)^\S*/debian/?$`)

// mirror is the first Debian mirror that this host's apt uses: whatever way it
// has to the outside leads there.
func mirror(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
	list, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for a mirror: %w; without apt, name a folder with the packages by --from", err)
	}
	if found := aMirror.Find(list); found != nil {
		return string(found), nil
	}
	return "", errors.New("this host's apt has no Debian mirror; add one to /etc/apt/sources.list, or name a folder with the packages by --from")
}

// apt is a private configuration of apt: the host's sources, lists and packages
// are neither used nor touched, so that another release and architecture can be
// had. The host's proxy settings still count.
type apt struct{ options []string }

func newApt(dir, mirror, arch string) (apt, error) {
	for _, name := range []string{"preferences.d", "lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return apt{}, err
		}
	}
	sources := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(sources, fmt.Appendf(nil, "deb [signed-by=%s] %s %s main\n", keyring, mirror, suite), 0o644); err != nil {
		return apt{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), nil, 0o644); err != nil {
		return apt{}, err
	}
	var a apt
	for _, setting := range []string{
		"Dir::Etc::sourcelist=" + sources, "Dir::Etc::sourceparts=/dev/null",
		"Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=" + filepath.Join(dir, "preferences.d"),
		"Dir::State=" + dir, "Dir::State::status=" + filepath.Join(dir, "status"), "Dir::Cache=" + filepath.Join(dir, "cache"),
		"APT::Architecture=" + arch, "APT::Architectures=" + arch, "APT::Sandbox::User=root",
		"Acquire::Languages=none", "Acquire::Retries=3",
	} {
		a.options = append(a.options, "-o", setting)
	}
	return a, nil
}

func (a apt) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "apt-get", append(append([]string{"-qq"}, a.options...), args...)...)
	cmd.Dir = dir
	return cmd
}

// run runs cmd; an error has what it said.
func run(cmd *exec.Cmd) error {
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", cmd.Args[0], cmd.Args[len(cmd.Args)-1], err, bytes.TrimSpace(said))
	}
	return nil
}
