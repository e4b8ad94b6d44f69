package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
	"swarmboot/images/builder"
	"swarmboot/images/catalogue"
	"swarmboot/images/tree"
)

// TestImages makes images out of what admins have, by the very commands in the
// README, and boots each. The sources are made from one Debian system, the
// lab's, so each root must be that again.
func TestImages(t *testing.T) {
	needs(t)
	folder, sources := newStateWithLab(t), t.TempDir()
	theirs := filepath.Join(sources, "theirs")
	var want tree.Tree
	promise(t, "an exported image is the same one elsewhere", func(t *testing.T) {
		shell(t, "", swarmbootProgram(t), "image", "verify", "--state", folder)
		want = unpack(t, folder, "lab@1", theirs)
	})
	makeSources(t, folder, theirs, sources)

	commands := append(buildsInReadme(t), "swarmboot image build folder@1 --from dir:theirs")
	var machines []machine
	for i, command := range commands {
		words := strings.Fields(command)
		name := words[3]
		machines = append(machines, machine{Name: "img-" + strings.TrimSuffix(name, "@1"), MAC: fmt.Sprintf("52:54:00:77:05:%02x", i+1), Image: name})
		promise(t, command, func(t *testing.T) {
			shell(t, sources, swarmbootProgram(t), append(words[1:], "--state", folder)...)
			got := unpack(t, folder, name, filepath.Join(t.TempDir(), "root"))
			for _, change := range tree.Compare(want, got) {
				onlyTime := strings.HasPrefix(change.What, "time ") && !strings.Contains(change.What, ";")
				if onlyTime && slices.Contains(rewritten, change.Path) {
					continue
				}
				if !slices.ContainsFunc(expected[name], func(prefix string) bool { return strings.HasPrefix(change.Path, prefix) }) {
					t.Errorf("%+v", change)
				}
			}
		})
	}
	if _, status := swarmboot(t, "image", "tag", "folder@stable", "folder@1", "--state", folder); status != 0 {
		t.Error("image tag failed")
	}
	machines[len(machines)-1].Image = "folder@stable"

	rack := newRackOf(t, folder, machines...)
	for i, want := range machines {
		promise(t, want.Image+" boots to its login", func(t *testing.T) {
			m := rack.powerOn(vm.MachineConfig{Name: want.Name, MAC: want.MAC, Firmware: []vm.Firmware{vm.BIOS, vm.UEFI}[i%2]})
			login(t, m)
			if got := run(t, m.Console, ". /etc/os-release; echo $VERSION_CODENAME $(hostname)"); got != "trixie "+want.Name {
				t.Errorf("it is %q; want trixie on %s", got, want.Name)
			}
			if failed := run(t, m.Console, "systemctl list-units --state=failed --plain --no-legend"); failed != "" {
				t.Errorf("units failed: %s", failed)
			}
			noReadErrors(t, m.Console)
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
}

// expected are the paths, by image, at which its root may differ from the one
// that it was made from: what the test or another kernel has put there, and the
// times of folders in which that was.
var expected = map[string][]string{
	"app@1":    {"etc/added-by-a-layer", "etc/bash.bashrc", "usr/lib/modules", "boot", "etc/.updated", "var/.updated"},
	"old@1":    {"boot"},
	"golden@1": {"boot", "etc/fstab", "lost+found"},
	"folder@1": {"boot"},
}

// rewritten are the paths that a build writes in each root. They have the time
// of the newest file in the source, and of those this test has made some.
var rewritten = []string{
	".", "etc", "var", "usr/lib", "etc/fstab", "etc/machine-id", "etc/.updated", "var/.updated", "etc/systemd/system",
	"etc/systemd/system/swarmboot-ssh-host-key.service",
}

// makeSources makes, in the folder dir, what the README's commands read.
func makeSources(t *testing.T, folder, theirs, dir string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	pack := func(file, of string, more ...string) {
		shell(t, of, "tar", append([]string{"--create", "--xattrs", "--xattrs-include=*", "--format=pax", "--numeric-owner", "-f", file}, append(more, ".")...)...)
	}

	// A container image: the lower layer has no kernel, as none has one; the
	// upper one removes a file, adds one and links to one below.
	upper := in("upper")
	for name, text := range map[string]string{"etc/.wh.bash.bashrc": "", "etc/added-by-a-layer": "hello\n"} {
		write(t, filepath.Join(upper, name), text)
	}
	pack(in("lower.tar"), theirs, "--exclude=./boot", "--exclude=./usr/lib/modules")
	pack(in("upper.tar"), upper, "--owner=0", "--group=0")
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lower.tar", "upper.tar"} {
		layer, err := tarball.LayerFromFile(in(name))
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			t.Fatal(err)
		}
	}
	path, err := layout.Write(in("layout"), empty.Index)
	if err == nil {
		err = path.AppendImage(image)
	}
	if err != nil {
		t.Fatal(err)
	}

	// The others come with their kernel.
	lab := imageIn(t, folder, "lab@1")
	kernel, err := os.ReadFile(lab.Path(catalogue.Kernel))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(theirs, "boot/vmlinuz-"+lab.Manifest.KernelRelease), string(kernel))
	pack(in("backup.tar.zst"), theirs, "--zstd")

	// A disk with its own /etc/fstab, whose partitions no machine has.
	fstab, err := os.ReadFile(filepath.Join(theirs, "etc/fstab"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(theirs, "etc/fstab"), "LABEL=root / ext4 defaults 0 1\nLABEL=boot /boot ext4 defaults 0 2\n")
	shell(t, dir, "mkfs.ext4", "-q", "-d", theirs, "root.ext4", "640M")
	write(t, filepath.Join(theirs, "etc/fstab"), string(fstab))
	shell(t, dir, "sh", "-ec", `truncate -s 642M disk.raw
echo 'label: gpt
start=2048' | sfdisk --quiet disk.raw
dd if=root.ext4 of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
qemu-img convert -O qcow2 disk.raw golden.qcow2
rm root.ext4 disk.raw`)
}

// buildsInReadme are the commands of the section on images of one's own that make
// one from what is not an image yet; TestTrain has those that make another of it.
func buildsInReadme(t *testing.T) (commands []string) {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Bring your own image\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		command, _, _ := strings.Cut(line, " #")
		if strings.HasPrefix(command, "swarmboot image build ") && !strings.Contains(command, " image:") {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	if len(commands) != 3 {
		t.Fatalf("the README has the commands %q; want three", commands)
	}
	return commands
}

func imageIn(t *testing.T, folder, name string) *catalogue.Image {
	t.Helper()
	s := server{state: state.Folder(folder)}
	return s.image(t, name)
}

// unpack puts the root of an image into dir and reads it.
func unpack(t *testing.T, folder, name, dir string) tree.Tree {
	t.Helper()
	if err := builder.Unpack(t.Context(), imageIn(t, folder, name), dir); err != nil {
		t.Fatal(err)
	}
	all, err := tree.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// shell runs a program in a folder; it must succeed.
func shell(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
