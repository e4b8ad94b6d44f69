package bootweb

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/inventory"
	"swarmboot/initramfs/stage"
)

var update = flag.Bool("update", false, "write the golden scripts anew")

var (
	known    = net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}
	stranger = net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 9}
)

// machines is a Server with one machine, on loopback, and one image.
type machines struct {
	image       *catalogue.Image
	initramfs   Initramfs
	problem     error
	ipxe        map[string]string
	reports     []stage.Report
	inventories []inventory.Inventory
	heard       int
	rootSent    int64
	claim       []string
	absent      bool // the machine is not at 127.0.0.1
	mate        string
	refused     map[string]int // by what, and the status of the answer
}

func (m *machines) Plan(mac net.HardwareAddr) (Plan, error) {
	if mac.String() != known.String() {
		return Plan{}, ErrUnknown
	}
	return Plan{
		MAC: mac, Name: "m1", Image: m.image, KernelArgs: []string{"swarmboot.server=http://10.77.0.1", "console=ttyS0"},
		Mate: m.mate, IPXE: m.ipxe, IPXEVersion: "1.21.1+git2025",
	}, m.problem
}

func (m *machines) Describe(mac net.HardwareAddr) ([]byte, error) {
	if _, err := m.Plan(mac); err != nil {
		return nil, err
	}
	return []byte("sealed"), nil
}

func (m *machines) Initramfs(string) Initramfs { return m.initramfs }

func (m *machines) Image(digest string) (*catalogue.Image, bool) {
	return m.image, digest == m.image.Digest
}

func (m *machines) Delta(digest string, from images.Ref) ([]byte, error) {
	if digest != m.image.Digest || from.Name != "lab" {
		return nil, ErrUnknown
	}
	return []byte("delta"), nil
}

func (m *machines) Sender(a netip.Addr) (net.HardwareAddr, bool) {
	return known, !m.absent && a == netip.MustParseAddr("127.0.0.1")
}

func (m *machines) Base(net.HardwareAddr, netip.Addr) string { return "http://10.77.0.1" }

func (m *machines) Inventory(i inventory.Inventory) (inventory.Order, error) {
	m.inventories = append(m.inventories, i)
	return inventory.Wait, nil
}

func (m *machines) Claim(net.HardwareAddr) []string { return m.claim }

func (m *machines) Identity(mac net.HardwareAddr, token string) ([]byte, error) {
	if token != "word" {
		return nil, ErrToken
	}
	_, err := m.Plan(mac)
	return []byte("sealed identity"), err
}

func (m *machines) Seed(word, file string) (string, net.HardwareAddr, bool) {
	if word != "seed" {
		return "", nil, false
	}
	return "data", known, file == "user-data"
}

func (m *machines) Heard(net.HardwareAddr) { m.heard++ }
func (m *machines) Report(r stage.Report)  { m.reports = append(m.reports, r) }
func (m *machines) Refused(what string, status int) {
	if m.refused == nil {
		m.refused = map[string]int{}
	}
	m.refused[fmt.Sprint(what, " ", status)]++
}
func (m *machines) RootSent(_ string, n int64) { m.rootSent += n }

// addImage puts an image of random-looking bytes into a catalogue.
func addImage(t *testing.T) *catalogue.Image {
	t.Helper()
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalogue.Open(t.TempDir(), []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	root := bytes.Repeat([]byte("root of the image"), 40_000)
	pieces, torrent, err := metainfo.Hash(bytes.NewReader(root), "root", int64(len(root)), 64<<10, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	files := map[catalogue.Part]string{}
	for part, data := range map[catalogue.Part][]byte{catalogue.Kernel: []byte("kernel"), catalogue.Modules: []byte("modules"), catalogue.Root: root, catalogue.Torrent: torrent} {
		files[part] = filepath.Join(t.TempDir(), string(part))
		if err := os.WriteFile(files[part], data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	manifest := images.Manifest{Format: images.Format, Name: "lab", Version: "1", Arch: "amd64", KernelRelease: "6.12", Filesystem: "squashfs", Pieces: pieces}
	image, err := c.Add(t.Context(), key, manifest, files)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func start(t *testing.T) (*machines, string) {
	t.Helper()
	m := &machines{image: addImage(t)}
	initramfs := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(initramfs, []byte("common and keys"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.initramfs = Initramfs{initramfs, images.Digest([]byte("common and keys"))}
	loaders := t.TempDir()
	if err := os.WriteFile(filepath.Join(loaders, "shimx64.efi"), []byte("shim"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(loaders, "passwd")); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler(Config{
		Loaders: loaders, Tracker: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
	}, m))
	t.Cleanup(server.Close)
	return m, server.URL
}

func do(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
	}
}

func TestScript(t *testing.T) {
	m, url := start(t)
	resp, text := do(t, "GET", url+"/boot.ipxe?mac=52:54:00:77:00:01", "")
	if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(text)) {
		t.Errorf("answered %s with length %d of %d", resp.Status, resp.ContentLength, len(text))
	}
	golden(t, "boot.ipxe", strings.ReplaceAll(text, m.image.Digest, "DIGEST"))

	m.problem = errors.New("verify kernel of image lab@1: wrong \"${evil}\" || bytes\nsecond line")
	_, text = do(t, "GET", url+"/boot.ipxe?mac=52:54:00:77:00:01&attempt=3", "")
	golden(t, "apology.ipxe", text)

	if len(m.reports) != 3 || m.reports[0].Stage != stage.Script || m.reports[2].Stage != stage.Failed || m.reports[2].At != stage.Kernel || m.reports[2].Reason != m.problem.Error() {
		t.Errorf("reports = %+v; want script, script, failed at kernel", m.reports)
	}
}

// A rack mate is asked first, and the server where it fails.
func TestScriptWithARackMate(t *testing.T) {
	m, url := start(t)
	m.mate = "http://10.77.0.12:6882"
	_, text := do(t, "GET", url+"/boot.ipxe?mac=52:54:00:77:00:01", "")
	golden(t, "mate.ipxe", strings.ReplaceAll(text, m.image.Digest, "DIGEST"))
	_, text = do(t, "GET", url+"/boot.grub?mac=52:54:00:77:00:01", "")
	golden(t, "mate.grub", strings.ReplaceAll(text, m.image.Digest, "DIGEST"))
	if n := len(m.reports); n != 4 || m.reports[1].Stage != stage.Kernel {
		t.Errorf("reports = %+v; want script and kernel, twice: the mate does not tell of it", m.reports)
	}
}

// A network card's own iPXE makes way for ours. The chain ends in the script: by
// the version of ours, or by the user class of one that the admin has made.
func TestChainOfIPXEsEnds(t *testing.T) {
	m, url := start(t)
	m.ipxe = map[string]string{"pcbios": "undionly.kpxe", "efi": "snponly.efi"}
	for platform, file := range m.ipxe {
		_, text := do(t, "GET", url+"/boot.ipxe?mac=52:54:00:77:00:01&version=1.0.0&platform="+platform, "")
		golden(t, "take-over-"+platform+".ipxe", strings.ReplaceAll(text, m.image.Digest, "DIGEST"))
		if n := strings.Count(text, "/loaders/"+file); n != 1 {
			t.Errorf("%s: %s is loaded in %d places; want 1", platform, file, n)
		}
	}
	if len(m.reports) != 0 {
		t.Errorf("a card's own iPXE has brought its machine to %+v; the script that counts is still to come", m.reports)
	}
	do(t, "GET", url+"/boot.ipxe?mac=52:54:00:77:00:01&platform=efi&version=1.21.1+git2025", "")
	if len(m.reports) != 1 || m.reports[0].Stage != stage.Script {
		t.Errorf("our iPXE has brought its machine to %+v; want the script", m.reports)
	}
	for _, query := range []string{"&attempt=1", "&platform=", "&platform=riscv"} {
		if _, text := do(t, "GET", url+"/boot.ipxe?mac=52:54:00:77:00:01"+query, ""); strings.Contains(text, "/loaders/") {
			t.Errorf("the script for %s begins with a loader:\n%s", query, text)
		}
	}
}

func TestGRUBScript(t *testing.T) {
	m, url := start(t)
	resp, text := do(t, "GET", url+"/boot.grub?mac=52:54:00:77:00:01", "")
	if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(text)) {
		t.Errorf("answered %s with length %d of %d", resp.Status, resp.ContentLength, len(text))
	}
	golden(t, "boot.grub", strings.ReplaceAll(text, m.image.Digest, "DIGEST"))

	m.problem = errors.New("verify kernel of image lab@1: 'wrong' $evil; bytes\nsecond line")
	_, text = do(t, "GET", url+"/boot.grub?mac=52:54:00:77:00:01", "")
	golden(t, "apology.grub", text)
	golden(t, "grub.cfg", GRUBConfig("http://10.77.0.1"))
}

// The machine's own disk is started by its loaders of any kind, and there by GRUB.
func TestScriptsOfAMachineThatStartsFromItsDisk(t *testing.T) {
	m, _ := start(t)
	plan, err := m.Plan(known)
	if err != nil {
		t.Fatal(err)
	}
	plan.Local = true
	forIPXE, forGRUB := Scripts(plan, "http://10.77.0.1")
	golden(t, "local.ipxe", forIPXE)
	golden(t, "local.grub", forGRUB)
	golden(t, "disk.grub", GRUBFromDisk("m1 boots lab@1", plan.KernelArgs))
}

func TestGRUBDevice(t *testing.T) {
	for base, want := range map[string]struct{ own, byHTTP string }{
		"http://10.77.0.1":      {"(http,10.77.0.1)", "(http,10.77.0.1)"},
		"http://10.77.0.1:8080": {"(http,10.77.0.1:8080)", "(http,10.77.0.1:8080)"},
		"http://[fd77::1]":      {"(http,[fd77::1])", "(http,fd77::1)"},
		"http://[fd77::1]:8080": {"(http,[fd77::1]:8080)", "(http,[fd77::1]:8080)"},
	} {
		if own, byHTTP := (grub{}).device(base), (grub{byHTTP: true}).device(base); own != want.own || byHTTP != want.byHTTP {
			t.Errorf("device(%q) = %q, by HTTP %q; want %v", base, own, byHTTP, want)
		}
	}
}

// A GRUB that was loaded by HTTP asks for its config by the address that it was
// loaded from; a name that it cannot have got from us is not repeated to it.
func TestGRUBConfigNamesTheServerAsked(t *testing.T) {
	_, url := start(t)
	host := strings.TrimPrefix(url, "http://")
	if _, text := do(t, "GET", url+GRUBConfigPath, ""); !strings.Contains(text, `source "(http,`+host+`)/http/boot.grub?`) {
		t.Errorf("config = %q; want that of %s", text, host)
	}
	req := httptest.NewRequest("GET", GRUBConfigPath, nil)
	req.Host = "evil'$(x)"
	w := httptest.NewRecorder()
	(&web{}).grubConfig(w, req)
	if w.Code != http.StatusBadRequest {
		t.Errorf("host %q: %d; want 400", req.Host, w.Code)
	}
}

// UEFI HTTP boot asks for the length first, by HEAD, and fetches then.
func TestLoadersByHEADAndGET(t *testing.T) {
	m, url := start(t)
	if resp, _ := do(t, "HEAD", url+"/loaders/shimx64.efi", ""); resp.StatusCode != http.StatusOK || resp.ContentLength != 4 || len(m.reports) != 0 {
		t.Errorf("HEAD = %s, length %d, reports %v; want 200, 4 and none", resp.Status, resp.ContentLength, m.reports)
	}
	if _, body := do(t, "GET", url+"/loaders/shimx64.efi", ""); body != "shim" || len(m.reports) != 1 || m.reports[0].Stage != stage.Loader {
		t.Errorf("GET = %q, reports %v; want the file and stage loader", body, m.reports)
	}
	// Shim puts a slash too many; firmware follows no redirections.
	if resp, err := http.DefaultTransport.RoundTrip(httptest.NewRequest("GET", url+"/loaders//shimx64.efi", nil)); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("GET with two slashes = %v, %v; want 200", resp, err)
	}
	for _, name := range []string{"revocations.efi", "passwd", "..%2fx", "%00", "."} {
		if resp, _ := do(t, "GET", url+"/loaders/"+name, ""); resp.StatusCode != http.StatusNotFound {
			t.Errorf("GET of %s = %s; want 404", name, resp.Status)
		}
	}
}

func TestStrangersGetNoScript(t *testing.T) {
	m, url := start(t)
	if resp, _ := do(t, "GET", url+"/boot.ipxe?mac="+stranger.String(), ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("stranger's script: %s; want 404", resp.Status)
	}
	if resp, _ := do(t, "GET", url+"/boot.ipxe?mac=none", ""); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("script without MAC: %s; want 400", resp.Status)
	}
	m.absent = true
	do(t, "GET", url+"/boot.ipxe?mac="+known.String(), "")
	if len(m.reports) != 0 {
		t.Errorf("a script that somebody else fetched counts as %+v", m.reports)
	}
}

func TestPartsByHEADAndRange(t *testing.T) {
	m, url := start(t)
	root := url + PartPath(m.image, catalogue.Root)
	resp, body := do(t, "HEAD", root, "")
	if resp.StatusCode != http.StatusOK || resp.ContentLength != m.image.Manifest.Root.Size || body != "" {
		t.Errorf("HEAD = %s, length %d; want 200 and %d", resp.Status, resp.ContentLength, m.image.Manifest.Root.Size)
	}
	if got := resp.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("Cache-Control = %q; want immutable", got)
	}
	if resp, body = do(t, "GET", root, "", "Range", "bytes=5-20"); resp.StatusCode != http.StatusPartialContent || body != "of the imageroot" {
		t.Errorf("range = %s, %q", resp.Status, body)
	}
	if m.rootSent != 16 {
		t.Errorf("bytes counted = %d; want the 16 of the range", m.rootSent)
	}
	if _, body = do(t, "GET", root, ""); int64(len(body)) != m.image.Manifest.Root.Size {
		t.Errorf("GET gave %d bytes; want %d", len(body), m.image.Manifest.Root.Size)
	}
	if resp, body := do(t, "GET", url+PartPath(m.image, catalogue.Kernel), ""); resp.StatusCode != http.StatusOK || body != "kernel" {
		t.Errorf("kernel = %s, %q", resp.Status, body)
	}
	if len(m.reports) != 1 || m.reports[0].Stage != stage.Kernel {
		t.Errorf("reports = %+v; want kernel once", m.reports)
	}
	if _, body := do(t, "GET", url+InitramfsPath+"amd64", ""); body != "common and keys" {
		t.Errorf("initramfs = %q", body)
	}
	for _, path := range []string{"/images/" + m.image.Digest + "/manifest", "/images/0000/root", "/images/../boot.ipxe", "/"} {
		if resp, _ := do(t, "GET", url+path, ""); resp.StatusCode == http.StatusOK {
			t.Errorf("GET %s = %s; want it refused", path, resp.Status)
		}
	}
}

func TestDescription(t *testing.T) {
	m, url := start(t)
	if resp, body := do(t, "GET", url+"/describe/"+known.String(), ""); resp.StatusCode != http.StatusOK || body != "sealed" {
		t.Errorf("description = %s, %q", resp.Status, body)
	}
	if resp, _ := do(t, "GET", url+"/describe/"+stranger.String(), ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("stranger's description = %s; want 404", resp.Status)
	}
	m.problem = errors.New("root is damaged")
	if resp, body := do(t, "GET", url+"/describe/"+known.String(), ""); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "root is damaged") {
		t.Errorf("description of a damaged image = %s, %q", resp.Status, body)
	}
}

func TestReports(t *testing.T) {
	m, url := start(t)
	say := func(mac net.HardwareAddr) int {
		data, err := stage.Report{Machine: mac.String(), Stage: stage.Init}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		resp, _ := do(t, "POST", url+stage.Path, string(data))
		return resp.StatusCode
	}
	if got := say(known); got != http.StatusNoContent {
		t.Errorf("own report = %d; want 204", got)
	}
	if got := say(stranger); got != http.StatusForbidden {
		t.Errorf("report about another = %d; want 403", got)
	}
	m.absent = true
	if got := say(known); got != http.StatusForbidden {
		t.Errorf("report from another address = %d; want 403", got)
	}
	m.absent = false
	for body, want := range map[string]int{"": 400, "{": 400, `{"machine":"52:54:00:77:00:01","stage":"up"}`: 400, `{"machine":"` + strings.Repeat("x", stage.MaxReport) + `"}`: 413} {
		if resp, _ := do(t, "POST", url+stage.Path, body); resp.StatusCode != want {
			t.Errorf("report %.40q = %s; want %d", body, resp.Status, want)
		}
	}
	if want := map[string]int{"report 403": 2, "report 400": 3, "report 413": 1}; !maps.Equal(m.refused, want) {
		t.Errorf("counted as refused are %v; want %v", m.refused, want)
	}
	if len(m.reports) != 1 || m.heard == 0 {
		t.Errorf("reports = %+v, heard %d times; want one report", m.reports, m.heard)
	}
}

func TestScriptsReportFailure(t *testing.T) {
	m, url := start(t)
	if resp, _ := do(t, "GET", url+"/failed?mac="+known.String()+"&stage=kernel&part=modules&error=42", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("failed = %s", resp.Status)
	}
	if len(m.reports) != 1 || m.reports[0].At != stage.Kernel || !strings.Contains(m.reports[0].Reason, `"modules"`) {
		t.Errorf("reports = %+v; want a failure at kernel that names modules", m.reports)
	}
	if resp, _ := do(t, "GET", url+"/failed?mac="+stranger.String()+"&stage=kernel", ""); resp.StatusCode != http.StatusForbidden {
		t.Errorf("failure of another = %s; want 403", resp.Status)
	}
}

func TestBackoffGrowsToHalfAMinute(t *testing.T) {
	for attempt, want := range map[int]time.Duration{-1: 2 * time.Second, 0: 2 * time.Second, 2: 8 * time.Second, 4: 30 * time.Second, 1 << 40: 30 * time.Second} {
		if got := backoff(attempt); got != want {
			t.Errorf("backoff(%d) = %v; want %v", attempt, got, want)
		}
	}
}

func TestServeEndsWhenAsked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, handler, slog.New(slog.DiscardHandler)) }()
	go http.Get("http://" + l.Addr().String())
	<-arrived
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve = %v; want nil after a stop", err)
		}
	case <-time.After(4 * time.Second):
		t.Fatal("Serve still runs although a request hangs; want it cut")
	}
}

// sink is a response that looks at what it is asked to read from.
type sink struct {
	*httptest.ResponseRecorder
	direct, all int
}

func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	s.all++
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			s.direct++
		}
	}
	return io.Copy(s.ResponseRecorder, r)
}

func TestFilesGoBySendfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 3*chunk+1), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := &sink{ResponseRecorder: httptest.NewRecorder()}
	var n int64
	paced(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n = send(w, r, f, "digest") })).ServeHTTP(out, httptest.NewRequest("GET", "/", nil))
	if out.direct != 4 || out.all != 4 || n != 3*chunk+1 || out.Body.Len() != 3*chunk+1 {
		t.Errorf("%d of %d copies reached the connection as a file, %d bytes counted, %d sent; want 4 of 4 and %d", out.direct, out.all, n, out.Body.Len(), 3*chunk+1)
	}
}

func TestInventory(t *testing.T) {
	m, url := start(t)
	data, err := inventory.Inventory{Machine: known.String(), Serial: "S1"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if resp, body := do(t, "POST", url+inventory.Path, string(data)); resp.StatusCode != http.StatusOK || body != `{"do":"wait"}`+"\n" || len(m.inventories) != 1 || m.inventories[0].Serial != "S1" {
		t.Errorf("answer = %s %q, the server had %+v", resp.Status, body, m.inventories)
	}
	m.absent = true
	for want, body := range map[int]string{http.StatusForbidden: string(data), http.StatusBadRequest: "no JSON"} {
		if resp, _ := do(t, "POST", url+inventory.Path, body); resp.StatusCode != want {
			t.Errorf("answer to %q = %s; want %d", body, resp.Status, want)
		}
	}
}
