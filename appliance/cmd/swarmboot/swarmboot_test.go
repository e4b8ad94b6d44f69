package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/api/apitest"
	"swarmboot/appliance/internal/control"
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/table"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/bootserver/loaders"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"

	"github.com/spf13/cobra"
)

// swarmboot runs the command as main does, but for the exit.
func swarmboot(t *testing.T, args ...string) (stdout, failure string) {
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	if err := root.ExecuteContext(t.Context()); err != nil {
		failure = explain(err)
	}
	return out.String(), failure
}

func TestEveryCommandHasAManual(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s: its help lacks a summary, a text or an example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long) {
			if n := utf8.RuneCountInString(line); n > 88 {
				t.Errorf("%s: a line of its help has %d characters; want 88 at most: %s", cmd.CommandPath(), n, line)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand())
}

func TestHelpTeachesTheFourVerbs(t *testing.T) {
	help, _ := swarmboot(t, "--help")
	for _, verb := range []string{"swarmboot image build lab@1", "swarmboot check", "swarmboot serve --config", "swarmboot machine list"} {
		if !strings.Contains(help, verb) {
			t.Errorf("help does not show %q", verb)
		}
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	for want, args := range map[string][]string{
		`'swarmboot --help' lists`:       {"frob"},
		`mean 'swarmboot machine list'?`: {"machine", "lits"},
		`what is "r1"?`:                  {"machine", "watch", "r1"},
		`want OLD NEW, got 1`:            {"image", "diff", "lab@1"},
		`under which settings`:           {"explain", "r1-n01"},
		`shorter than none`:              {"rack", "power", "on", "r1", "--stagger", "-1s"},
		`--config FILE`:                  {"serve"},
		`want FILE`:                      {"check"},
		`want name@version`:              {"image", "build", "lab"},
		`want table or json`:             {"image", "list", "-o", "xml", "--state", t.TempDir()},
		`want text or json`:              {"serve", "--config", "x", "--log-format", "xml"},
		`list --help`:                    {"machine", "list", "--frob"},
	} {
		out, failure := swarmboot(t, args...)
		if !strings.HasPrefix(failure, "swarmboot: ") || !strings.Contains(failure, want) || strings.Contains(out, "Usage:") {
			t.Errorf("%v failed with %q and printed %q; want %q and no usage", args, failure, out, want)
		}
	}
}

func TestCheck(t *testing.T) {
	config := filepath.Join(t.TempDir(), "lab.yaml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("networks: {lab: {interface: br0, address: 10.77.0.1/24}}\nserver: {state: state}\n")
	out, failure := swarmboot(t, "check", config)
	if want := config + ": ok: networks 1, machines 0, images 0\n"; out != want || failure != "" {
		t.Errorf("check printed %q, %q; want %q", out, failure, want)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(config), "state")); err == nil {
		t.Error("check made the state folder; want nothing changed")
	}

	write("networks: {lab: {interface: br0, address: 10.77.0.1/24}}\nserver: {state: state}\nunknown: maybe\ndefaults: {image: lab@1}\n")
	_, failure = swarmboot(t, "check", config)
	lines := strings.Split(failure, "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], config+":3:10: unknown: ") || !strings.HasPrefix(lines[1], config+":4:19: defaults.image: no image lab@1") {
		t.Errorf("check told\n%s\nwant both mistakes, each in a line that begins with its place", failure)
	}
}

func TestDiff(t *testing.T) {
	folder := t.TempDir()
	addImage(t, folder, "lab@1")
	config := filepath.Join(folder, "lab.yaml")
	if err := os.WriteFile(config, []byte(`server: {state: .}
networks: {lab: {interface: br0, address: 10.77.0.1/24}}
machines: [{mac: 52:54:00:77:00:01, name: r1-n01, image: lab@1, address: 10.77.0.2}]
traces: {url: "http://tux:pa55word@127.0.0.1:4318/"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := serveOne(t, folder) // with no settings at all
	defer stop()
	out, failure := swarmboot(t, "diff", config)
	for _, want := range []string{
		"network lab added: 10.77.0.0/24\n", "traces: url none -> http://127.0.0.1:4318 (takes a restart of the server)\n", "machine r1-n01: added\n",
		"until a restart the server refuses the file as a whole: [server.state",
	} {
		if !strings.Contains(out, want) || failure != "" || strings.Contains(out, "pa55word") {
			t.Errorf("diff printed\n%s%s; want %q", out, failure, want)
		}
	}
}

func TestImageListOfANewState(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	if out, failure := swarmboot(t, "image", "list", "-o", "json", "--state", folder); out != "[]\n" || failure != "" {
		t.Errorf("image list printed %q, %q; want []", out, failure)
	}
}

// serveOne answers the commands in folder for a boot server with one machine,
// until the function that it returns is called.
func serveOne(t *testing.T, folder string) (server *apitest.Server, stop func()) {
	t.Helper()
	server = &apitest.Server{
		Config: api.Settings{File: "lab.yaml", Loaded: time.Now(), Refused: time.Now(), Problem: "lab.yaml:1:1: one\nlab.yaml:2:1: two", Restart: []string{"traces: url changed"}},
		Known: []fleet.MachineStatus{{MAC: "52:54:00:77:00:01", Name: "r1-n01", Image: "lab@1", Stage: stage.Ready,
			Progress: &stage.Progress{Pieces: 4, Have: 3}}},
		Nets:     []bootserver.NetworkStatus{{Name: "hall", Server: netip.MustParseAddr("10.77.0.1"), Subnet: "10.77.0.0/24", Mode: bootserver.Full, PoolSize: 100, PoolUsed: 7}},
		Swarm:    []bootserver.SwarmStatus{{Image: "lab@1", Copies: 1.5}},
		Versions: []string{"1", "2"},
		Lines:    []journal.Line{{Number: 1, Level: "INFO", Text: "boot begins"}, {Number: 2, Level: "WARN", Text: "machine is stuck"}},
		Unlisted: []bootserver.Stranger{{MAC: "52:54:00:77:00:09", Platform: "BIOS", Last: time.Now(), Inventory: &inventory.Inventory{
			Vendor: "QEMU", Product: "Standard PC", Serial: "S17", CPUs: 4, Memory: 1 << 30, Disks: []inventory.Disk{{Bytes: 1 << 40}, {Bytes: 1 << 30}},
			Cards: []inventory.Card{{}, {Switch: "sw1", Port: "Gi1/0/7"}}}}},
	}
	socket, err := control.Listen(filepath.Join(folder, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	handler := api.Handler(server, server, "1", slog.New(slog.DiscardHandler))
	go func() {
		done <- control.Serve(ctx, socket, handler, func() settings.Complete { return settings.Complete{} })
	}()
	return server, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestMachineListAndStatus(t *testing.T) {
	folder := t.TempDir()
	if _, failure := swarmboot(t, "machine", "list", "--state", folder); !strings.Contains(failure, "start one with 'swarmboot serve'") {
		t.Errorf("machine list without a server: %q; want what to do", failure)
	}
	server, stop := serveOne(t, folder)
	defer stop()
	out, failure := swarmboot(t, "machine", "list", "--state", folder)
	for _, want := range []string{"r1-n01", "75%", "ready", "1.50"} {
		if !strings.Contains(out, want) {
			t.Errorf("machine list printed %q, %q; want %q in it", out, failure, want)
		}
	}
	out, failure = swarmboot(t, "machine", "list", "-o", "json", "--state", folder)
	var list []fleet.MachineStatus
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Name != "r1-n01" {
		t.Errorf("machine list -o json printed %q, %q", out, failure)
	}
	out, failure = swarmboot(t, "machine", "unknown", "--state", folder)
	for _, want := range []string{"52:54:00:77:00:09", "BIOS", "QEMU Standard PC", "S17", "1.0 GiB", "1.0 TiB, 1.0 GiB", "sw1 Gi1/0/7", "0s ago"} {
		if !strings.Contains(out, want) {
			t.Errorf("machine unknown printed %q, %q; want %q in it", out, failure, want)
		}
	}
	out, failure = swarmboot(t, "status", "--state", folder)
	for _, want := range []string{"lab.yaml, loaded 0s ago", "last good ones are in force:\n          lab.yaml:1:1: one\n          lab.yaml:2:1: two\n          takes effect after a restart of the server: traces: url changed\n", "hall", "7 of 100", "ready", "1.50"} {
		if !strings.Contains(out, want) {
			t.Errorf("status printed %q, %q; want %q in it", out, failure, want)
		}
	}
	for _, c := range []struct {
		args []string
		want string // in the output, or in the error if it begins with !
	}{
		{[]string{"list", "r1-n[01-02]"}, "!no machine r1-n02"},
		{[]string{"list", "r1-n[01-"}, "!does not close"},
		{[]string{"list", "r1-n[01-01]", "52-54-00-77-00-01"}, "r1-n01"},
		{[]string{"timeline", "r1-n01"}, "no boot of it was seen"},
		{[]string{"timeline"}, "!want NAME"},
		{[]string{"log", "r1-n01"}, "INFO  r1-n01: boot begins\n"},
		{[]string{"log", "52:54:00:77:00:01", "-o", "json"}, `{"machine":"52:54:00:77:00:01","number":2`},
		{[]string{"adopt", "52:54:00:77:00:09", "--name", "r1-n09", "--rack", "r1"}, "is listed"},
		{[]string{"adopt", "52:54:00:77:00:09"}, "!listed already"},
		{[]string{"reboot-into", "r1-n01", "lab@2"}, "r1-n01 boots lab@2 at its next boot, once; until it is started anew it runs lab@1\n"},
		{[]string{"reboot-into", "r1-n[01-01]", "lab@2", "--stay"}, "boots lab@2 from its next boot on"},
		{[]string{"reboot-into", "r1-n01", "lab@3"}, "!r1-n01: the boot server says: image lab@3"},
		{[]string{"reboot-into", "r1-n01", "r1-n02"}, "!want name@version"},
		{[]string{"rollback", "r1-n01"}, "boots lab@1 from its next boot on"},
		{[]string{"release", "r1-n01"}, "r1-n01 boots what the settings name"},
		{[]string{"watch"}, "!no terminal"},
	} {
		out, failure := swarmboot(t, append([]string{"machine", "--state", folder}, c.args...)...)
		want, fails := strings.CutPrefix(c.want, "!")
		if fails && !strings.Contains(failure, want) || !fails && (failure != "" || !strings.Contains(out, want)) {
			t.Errorf("machine %v printed %q and failed with %q; want %q", c.args, out, failure, c.want)
		}
	}
	if a := server.Adopted(); len(a) != 1 || a[0].Name != "r1-n09" || a[0].Rack != "r1" {
		t.Errorf("adopted %+v", a)
	}
	out, _ = swarmboot(t, "__complete", "machine", "--state", folder, "timeline", "r1")
	if !strings.Contains(out, "r1-n01\tready") {
		t.Errorf("a shell is offered %q; want the machine", out)
	}
}

// A program that calls a command can tell by its status what to do.
func TestExitStatus(t *testing.T) {
	folder := t.TempDir()
	gate := access.NewGate(access.Tokens(filepath.Join(folder, "tokens.json")), slog.New(slog.DiscardHandler))
	far := httptest.NewServer(gate.Protect(http.NotFoundHandler(), false))
	defer far.Close()
	for _, c := range []struct {
		args string
		want int
	}{
		{"version", 0}, {"--help", 0}, {"machine", 0},
		{"check /nonexistent", exitFailed}, {"image show lab@1 --state " + folder, exitFailed},
		{"frob", exitUsage}, {"machine frob", exitUsage}, {"machine list --frob", exitUsage}, {"check", exitUsage}, {"serve", exitUsage},
		{"image list -o xml --state " + folder, exitUsage}, {"machine adopt x", exitUsage}, {"completion", exitUsage}, {"completion tcsh", exitUsage}, {"completion zsh", 0},
		{"lab up --machines x", exitUsage}, {"lab up --machines 0", exitUsage}, {"lab up --link fast", exitUsage}, {"lab add --link fast", exitUsage},
		{"image build x@1 --arch foo", exitUsage}, {"image build x@1 --from nonsense:x", exitUsage}, {"image push lab@1 --to ftp:x", exitUsage}, {"image pull lab@1 --from ftp:x", exitUsage},
		{"image gc --keep -1", exitUsage}, {"token new a --scope x", exitUsage}, {"token new a --expires -1h", exitUsage}, {"status --server nonsense", exitUsage},
		{"machine list --state " + folder, exitUnreachable}, {"status --server http://127.0.0.1:1", exitUnreachable},
		{"machine list --server " + far.URL, exitRefused},
	} {
		root := rootCommand()
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		root.SetArgs(strings.Fields(c.args))
		err := root.ExecuteContext(t.Context())
		if got := exitStatus(err); got != c.want {
			t.Errorf("swarmboot %s: %v, status %d; want %d", c.args, err, got, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	b := newBuild(&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v0.1.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "8dc7ab3"}, {Key: "vcs.modified", Value: "true"}, {Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "amd64"}}})
	if got, want := b.String(), "swarmboot v0.1.0 (commit 8dc7ab3, changed) go1.26.0 linux/amd64"; got != want {
		t.Errorf("the build is %q; want %q", got, want)
	}
	out, failure := swarmboot(t, "version", "-o", "json")
	var told build
	if err := json.Unmarshal([]byte(out), &told); err != nil || told.Go != runtime.Version() || told.Arch != runtime.GOARCH {
		t.Errorf("version -o json printed %q, %q", out, failure)
	}
}

func TestLoadersList(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, loaders.Files[0].Name), []byte("rotten"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, failure := swarmboot(t, "loaders", "list", "-o", "json", "--dir", folder)
	var list []table.LoaderRow
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != len(loaders.Files) || list[0].State != "other" || list[1].State != "missing" {
		t.Errorf("loaders list -o json printed %q, %q; want the first as another, the others missing", out, failure)
	}
	if out, failure := swarmboot(t, "loaders", "list", "--dir", folder); !strings.Contains(out, loaders.Files[1].Name+" ") || !strings.Contains(out, " missing ") {
		t.Errorf("loaders list printed %q, %q", out, failure)
	}
}

// Who may read a token may be the admin.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, failure := swarmboot(t, "status", "--server", "https://127.0.0.1:1", "--token-file", file); !strings.Contains(failure, "chmod 600") {
		t.Errorf("a token file that all may read: %q; want a refusal", failure)
	}
}

func TestManual(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "man")
	if _, failure := swarmboot(t, "manual", folder); failure != "" {
		t.Fatal(failure)
	}
	for name, want := range map[string]string{
		"swarmboot.1": "Exit status", "swarmboot-machine-timeline.1": "MEDIAN", "swarmboot-image-build.1": "kernel-from", "swarmboot.bash": "__start_swarmboot", "_swarmboot": "#compdef swarmboot", "swarmboot.fish": "complete",
	} {
		if text, err := os.ReadFile(filepath.Join(folder, name)); err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s: %v; want %q in it", name, err, want)
		}
	}
}

func TestEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := endInTime(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil }); err != nil {
			t.Errorf("endInTime = %v; want nil after an orderly stop", err)
		}
		release := make(chan bool)
		began := time.Now()
		err := endInTime(ctx, func(context.Context) error { <-release; return nil })
		if err == nil || time.Since(began) != stopTime {
			t.Errorf("endInTime = %v after %v; want an error after %v", err, time.Since(began), stopTime)
		}
		close(release)
	})
}

func TestStepsInLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newSteps(&out)
		s.progress("bootstrap", 0, 0)
		time.Sleep(90 * time.Second)
		s.progress("hash", 0, 10)
		s.progress("hash", 10, 10)
		s.end(true)
		if want := "bootstrap ...\nbootstrap: done in 1m30s\nhash ...\nhash: done in 0s\n"; out.String() != want {
			t.Errorf("steps wrote %q; want %q", out.String(), want)
		}
	})
}
