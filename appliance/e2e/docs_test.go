package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
)

// elsewhere are the commands of the documentation that TestDocs leaves to others,
// by how they begin, with who runs them.
var elsewhere = map[string]string{
	"swarmboot image build ":            "TestImages, TestTrain, and make lab",
	"swarmboot image train ":            "TestTrain",
	"swarmboot image push ":             "TestBucket of images/origin",
	"swarmboot image pull ":             "TestBucket of images/origin",
	"swarmboot loaders fetch":           "make loaders",
	"swarmboot serve ":                  "this test, with the package's own paths",
	"swarmboot machine watch --server ": "TestRemote of appliance/internal/control: it needs another computer",
	"swarmboot machine rollback ":       "TestOverridesOfAServer of bootserver: it needs boots of two images",
}

// endless are the commands that go on until they are stopped.
var endless = regexp.MustCompile(`machine watch|--watch|--follow|/events`)

// TestDocs runs the commands of the documentation in their order on a server that
// has nothing else: what a reader types must work. Those of the quick start have
// the settings that it shows.
func TestDocs(t *testing.T) {
	needs(t)
	const site = `unknown: discover
networks: {lab: {interface: eth1, address: 10.77.0.1/24, pool: 10.77.0.100-10.77.0.199}}
power: {pdu: {via: command, command: [echo, "on"]}}
groups: {canary: {image: lab@canary}}
racks: {r1: {power: pdu}}
defaults: {image: lab@stable}
machines:
  - {name: "r1-n[01-04]", rack: r1, mac: "52:54:00:77:00:01-52:54:00:77:00:04"}
  - {name: "r1-n[05-40]", power: pdu, mac: "52:54:00:77:00:05-52:54:00:77:00:28"}
`
	left := map[string]bool{} // of elsewhere, what is there
	const quickstart, readme = "../../docs/quickstart.md", "../../README.md"
	_, block, _ := strings.Cut(read(t, quickstart), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	others, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	others = append([]string{readme}, slices.DeleteFunc(others, func(file string) bool { return file == quickstart })...)
	for _, one := range []struct {
		name, settings string
		files          []string
	}{
		{"quick start", strings.ReplaceAll("\n"+block, "\n   ", "\n"), []string{quickstart}},
		{"the others", site, others},
	} {
		t.Run(one.name, func(t *testing.T) {
			r := newReader(t, one.settings)
			for _, file := range one.files {
				for _, command := range commandsIn(read(t, file)) {
					if begin := isElsewhere(command); begin != "" {
						left[begin] = true
						continue
					}
					t.Run(filepath.Base(file)+" "+command, func(t *testing.T) { r.types(t, command) })
				}
			}
		})
	}
	for begin := range elsewhere {
		if !left[begin] {
			t.Errorf("no command begins with %q any more", begin)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// commandsIn are the commands to swarmboot, and requests to its API, in the blocks
// of a text.
func commandsIn(text string) (commands []string) {
	for i, block := range strings.Split(text, "```") {
		for line := range strings.Lines(block) {
			command, _, _ := strings.Cut(strings.TrimSpace(line), " #")
			if i%2 == 1 && (strings.HasPrefix(command, "swarmboot ") || strings.HasPrefix(command, "curl ")) {
				commands = append(commands, strings.TrimSpace(command))
			}
		}
	}
	return commands
}

// isElsewhere is how a command begins that others run, or empty.
func isElsewhere(command string) string {
	for begin := range elsewhere {
		if strings.HasPrefix(command, begin) {
			return begin
		}
	}
	return ""
}

// A reader sits at a server as the package has set it up: a boot server on a
// network of its own, in a file system of which only that network's processes see
// what was changed.
type reader struct{ server *vm.Service }

func newReader(t *testing.T, settings string) reader {
	t.Helper()
	dir := t.TempDir()
	lan, err := vm.NewLAN(vm.TempName(lanPrefix, int(racks.Add(1))), netip.MustParsePrefix("10.88.0.1/24"), filepath.Join(dir, "lan"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lan.Close(); err != nil {
			t.Error(err)
		}
	})
	folder := state.Folder(filepath.Join(dir, "state"))
	for _, version := range []string{"1", "2", "3"} {
		tree, root := filepath.Join(dir, version), filepath.Join(dir, version+".squashfs")
		write(t, filepath.Join(tree, "etc/os-release"), "VERSION_ID="+version+"\n")
		shell(t, "", "mksquashfs", tree, root, "-quiet", "-no-progress")
		addImage(t, folder, version, []byte(read(t, root)))
	}
	for _, tag := range []string{"lab@stable", "lab@canary"} {
		shell(t, "", swarmbootProgram(t), "image", "tag", tag, "lab@1", "--state", string(folder))
	}
	write(t, filepath.Join(dir, "swarmboot.yaml"), settings)
	start := changesUnseen("etc", "usr/lib", "var/lib") + fmt.Sprintf(`cd %q
mkdir -p /etc/swarmboot /usr/lib/swarmboot /var/lib/swarmboot
cp swarmboot.yaml /etc/swarmboot/
cp -r %q /usr/lib/swarmboot/loaders
cp %q /usr/lib/swarmboot/
cp -r state/. /var/lib/swarmboot/
ip link add eth1 type veth peer name cable
ip address add 10.77.0.1/24 dev eth1
ip link set eth1 up
ip link set cable up
exec swarmboot serve --config /etc/swarmboot/swarmboot.yaml`, dir, filepath.Join(cache(t), "loaders"), initramfsFile(t))
	answers := func(ctx context.Context) error {
		return lan.Command(ctx, "curl", "-sf", "-o", "/dev/null", adminURL+"/api/v1/machines").Run()
	}
	r, path := reader{}, "PATH="+filepath.Dir(swarmbootProgram(t))+":"+os.Getenv("PATH")
	if r.server, err = lan.Serve(t.Context(), answers, filepath.Join(dir, "server.log"), "env", path, "unshare", "--mount", "sh", "-ec", start); err != nil {
		t.Fatal(err)
	}
	return r
}

// types runs a command in the folder of the settings. One without end must still
// run after a while.
func (r reader) types(t *testing.T, command string) {
	t.Helper()
	words := []string{"--target", fmt.Sprint(r.server.PID()), "--mount", "--net", "--wdns=/etc/swarmboot", "timeout"}
	goesOn := endless.MatchString(command)
	if goesOn {
		// script gives it a terminal.
		words = append(words, "--signal=INT", "3", "script", "--quiet", "--return", "--command", command, "/dev/null")
	} else {
		words = append(words, "60", "sh", "-c", command)
	}
	cmd := exec.CommandContext(t.Context(), "nsenter", words...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(swarmbootProgram(t))+":"+os.Getenv("PATH"), "TERM=xterm")
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	if goesOn && time.Since(begun) >= 3*time.Second {
		return
	}
	if err != nil || goesOn {
		t.Errorf("%v: %s", err, out)
	}
}
