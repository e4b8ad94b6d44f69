package bootserver

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swarmboot/bootserver/loaders"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
	"swarmboot/initramfs/bootargs"
	"swarmboot/initramfs/envelope"
	"swarmboot/initramfs/nettest"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd/announce"
)

// inNamespace runs the test anew in a network namespace of its own, where it is
// root and may open any port, and has two cards that are joined by a cable:
// server0 with 10.77.0.1/24, and machine0. It returns true in there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if !nettest.Alone(t,
		"link add server0 type veth peer name machine0 address 52:54:00:77:00:02",
		"address add 10.77.0.1/24 dev server0",
		"link set server0 up", "link set machine0 up") {
		return false
	}
	// Both ends of the cable are this host: let it talk to itself.
	for name, value := range map[string]string{"accept_local": "1", "rp_filter": "0"} {
		for _, card := range []string{"all", "server0", "machine0"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+card+"/"+name, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	return true
}

// lab is a config, its images and its key.
type lab struct {
	Config
	images *catalogue.Catalogue
	key    envelope.PrivateKey
	image  *catalogue.Image
}

func newLab(t *testing.T) lab {
	t.Helper()
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c, err := catalogue.Open(filepath.Join(dir, "images"), []envelope.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	root := bytes.Repeat([]byte("root of the image"), 40_000)
	pieces, torrent, err := metainfo.Hash(bytes.NewReader(root), "root", int64(len(root)), 64<<10, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	image, err := c.Add(t.Context(), key,
		images.Manifest{Format: images.Format, Name: "lab", Version: "1", Arch: "amd64", KernelRelease: "6.12", Filesystem: "squashfs", Pieces: pieces},
		map[catalogue.Part]string{
			catalogue.Kernel: write("kernel", []byte("kernel")), catalogue.Modules: write("modules", []byte("modules")),
			catalogue.Root: write("root", root), catalogue.Torrent: write("torrent", torrent),
		})
	if err != nil {
		t.Fatal(err)
	}
	for _, loader := range loaders.Files {
		write("loaders/"+loader.Name, []byte("loader "+loader.Name))
	}
	ref := images.Ref{Name: "lab", Version: "1"}
	return lab{Config{
		Networks: []Network{{
			Name: "lab", Interface: "server0", Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"),
			Pool: Range{netip.MustParseAddr("10.77.0.100"), netip.MustParseAddr("10.77.0.110")},
		}},
		Machines: []Machine{
			{MAC: net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 2}, Name: "m2", Network: "lab", Address: netip.MustParseAddr("10.77.0.22"), Boot: Boot{Image: ref, KernelArgs: []string{"console=ttyS0", "quiet"}}},
			{MAC: net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 3}, Name: "m3", Network: "lab", Boot: Boot{Image: ref}},
		},
		State: filepath.Join(dir, "state"), Loaders: filepath.Join(dir, "loaders"), Initramfs: write("initramfs", []byte("odd")),
	}, c, key, image}
}

func (l lab) new(t *testing.T) *Server {
	t.Helper()
	s, err := New(l.Config, l.images, l.key, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs s until the test ends, and waits until it serves.
func run(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		begun := time.Now()
		if err := <-done; err != nil {
			t.Errorf("Run = %v; want nil after a stop", err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("Run took %v to stop; want at most 5s", took)
		}
	}
	t.Cleanup(stop)
	for len(s.Swarms()) == 0 { // the image is verified and seeded
		select {
		case err := <-done:
			t.Fatalf("Run = %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return stop
}

// machine is the far end of the cable.
type machine struct {
	*testing.T
	http http.Client
}

// dhcp sends a captured packet as firmware does, and returns the answer.
func (m machine) dhcp(capture string, edit func(packet []byte) []byte) []byte {
	m.Helper()
	conn := m.send(capture, edit)
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 1500)
	n, _, err := conn.ReadFrom(buf)
	if err != nil {
		m.Fatalf("no answer to %s: %v", capture, err)
	}
	return buf[:n]
}

// send sends a captured packet as firmware does, to all.
func (m machine) send(capture string, edit func(packet []byte) []byte) net.PacketConn {
	m.Helper()
	text, err := os.ReadFile(filepath.Join("internal", "dhcp", "testdata", capture))
	if err != nil {
		m.Fatal(err)
	}
	packet, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		m.Fatal(err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "machine0")
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
		})
	}}
	conn, err := lc.ListenPacket(m.Context(), "udp4", "0.0.0.0:68")
	if err != nil {
		m.Fatal(err)
	}
	if _, err := conn.WriteTo(edit(packet), &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
		m.Fatal(err)
	}
	return conn
}

func (m machine) do(method, path, body string) (int, string) {
	m.Helper()
	req, err := http.NewRequest(method, "http://10.77.0.1"+path, strings.NewReader(body))
	if err != nil {
		m.Fatal(err)
	}
	resp, err := m.http.Do(req)
	if err != nil {
		m.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		m.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func (m machine) report(r stage.Report) int {
	m.Helper()
	data, err := r.Encode()
	if err != nil {
		m.Fatal(err)
	}
	code, _ := m.do("POST", stage.Path, string(data))
	return code
}

// A machine goes through all the protocols, from its firmware's first packet to
// the login, and the server knows at each step how far it is.
func TestABootOverTheWire(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	s := l.new(t)
	stop := run(t, s)
	// at waits: what a packet tells is noted after it was answered.
	at := func(want stage.Stage) {
		t.Helper()
		var got stage.Stage
		for range 500 {
			if got = s.Machines()[0].Stage; got == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("machine is at %q; want %q", got, want)
	}
	address := []byte{10, 77, 0, 22}
	local := &net.TCPAddr{IP: address}
	m := machine{t, http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: local}).DialContext}}}

	at("")
	offer := m.dhcp("ovmf-2022.11.discover.hex", func(p []byte) []byte { return p })
	if !bytes.Equal(offer[16:20], address) || !bytes.HasPrefix(offer[108:], []byte("shimx64.efi"+"\x00")) {
		t.Errorf("offer of address %v and file %.20q; want %v and %s", offer[16:20], offer[108:], address, "shimx64.efi")
	}
	at(stage.DHCP)
	m.dhcp("ovmf-2022.11.request.hex", func(p []byte) []byte {
		return bytes.Replace(p, []byte{50, 4, 10, 77, 0, 100}, append([]byte{50, 4}, address...), 1)
	})
	if out, err := exec.Command("ip", "address", "add", "10.77.0.22/32", "dev", "machine0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: address})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	conn.WriteTo([]byte("\x00\x01"+"shimx64.efi"+"\x00octet\x00"), &net.UDPAddr{IP: net.IPv4(10, 77, 0, 1), Port: 69})
	data := make([]byte, 600)
	n, from, err := conn.ReadFrom(data)
	if err != nil || string(data[:n]) != "\x00\x03\x00\x01loader "+"shimx64.efi" {
		t.Errorf("loader = %q, %v", data[:n], err)
	}
	conn.WriteTo([]byte("\x00\x04\x00\x01"), from)
	conn.Close()
	at(stage.Loader)

	_, script := m.do("GET", "/boot.ipxe?mac=52:54:00:77:00:02", "")
	_, rest, found := strings.Cut(script, "swarmboot.server=http://10.77.0.1 swarmboot.mac=52:54:00:77:00:02 panic=30 console=ttyS0 quiet swarmboot.token=")
	if !found {
		t.Errorf("script =\n%s", script)
	}
	at(stage.Script)
	token, _, _ := strings.Cut(rest, " ")
	if _, script := (machine{T: t}).do("GET", "/boot.ipxe?mac=52:54:00:77:00:02", ""); strings.Contains(script, "token") {
		t.Errorf("another machine is told the token:\n%s", script)
	}
	for i, want := range []int{http.StatusOK, http.StatusGone} {
		if status, body := m.do("POST", "/identity/52:54:00:77:00:02", token); status != want {
			t.Errorf("the token shown for time %d: %d %s; want %d", i+1, status, body, want)
		}
	}
	if _, kernel := m.do("GET", "/images/"+l.image.Digest+"/kernel", ""); kernel != "kernel" {
		t.Errorf("kernel = %q", kernel)
	}
	at(stage.Kernel)
	if _, archive := m.do("GET", "/initramfs/amd64", ""); !strings.HasPrefix(archive, "odd\x00070701") || !strings.Contains(archive, "BEGIN PUBLIC KEY") {
		t.Errorf("initramfs = %.40q...; want the archive, padding and a cpio with the key", archive)
	}
	_, sealed := m.do("GET", bootargs.DescriptionPath(l.Machines[0].MAC), "")
	d, err := bootargs.OpenDescription([]envelope.PublicKey{l.key.Public()}, l.Machines[0].MAC, []byte(sealed))
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "m2" || d.Image != "lab@1" || d.Seeder != "10.77.0.1:6881" || d.Tracker != "http://10.77.0.1/announce" || d.RootURL != "http://10.77.0.1/images/"+l.image.Digest+"/root" || !slices.Equal(d.Profile, []int{0, 3, 4, 5, 6, 7, 8, 9, 10}) {
		t.Errorf("description = %+v", d)
	}

	infohash, err := metainfo.Parse(d.Torrent, l.image.Manifest.Pieces)
	if err != nil {
		t.Fatal(err)
	}
	query := announce.Request{InfoHash: infohash, Address: netip.MustParseAddrPort("10.77.0.22:6881"), Left: 9, Wanted: 50}.Query()
	_, body := m.do("GET", announce.Path+"?"+query.Encode(), "")
	if peers, err := announce.Decode([]byte(body)); err != nil || len(peers.Peers) != 1 || peers.Peers[0] != netip.MustParseAddrPort("10.77.0.1:6881") {
		t.Errorf("announce = %+v, %v; want the seeder", peers, err)
	}
	if got := s.Swarms()[0]; got.Image != "lab@1" || got.Peers != 1 || got.ImageBytes != l.image.Manifest.Root.Size {
		t.Errorf("swarm = %+v", got)
	}

	if code := m.report(stage.Report{Machine: "52:54:00:77:00:03", Stage: stage.Init}); code != http.StatusForbidden {
		t.Errorf("report about another machine = %d; want 403", code)
	}
	if got, want := s.Refusals(), map[Refusal]int64{{"identity", 410}: 1, {"report", 403}: 1}; !maps.Equal(got, want) {
		t.Errorf("refused were %v; want %v", got, want)
	}
	m.report(stage.Report{Machine: "52:54:00:77:00:02", Image: "lab@1", Stage: stage.Ready, Progress: &stage.Progress{Pieces: 11, Have: 5}, Touched: []stage.Touch{{Piece: 0}, {Piece: 7, Millis: 3}}})
	at(stage.Ready)
	if got := s.Machines()[0]; got.AtReady == nil || got.AtReady.Have != 5 || got.Boots != 1 || got.Address != netip.MustParseAddr("10.77.0.22") {
		t.Errorf("status = %+v", got)
	}
	if profile, err := s.profiles.Get(l.image.Digest, 11); err != nil || !slices.Equal(profile, []int{0, 7}) {
		t.Errorf("profile = %v, %v; want the read log", profile, err)
	}
	stop()
}

func TestADamagedImageIsNotBooted(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	s := l.new(t)
	run(t, s)
	m := machine{T: t}
	kernel := l.image.Path(catalogue.Kernel)
	if err := errors.Join(os.Chmod(kernel, 0o644), os.WriteFile(kernel, []byte("evil!!"), 0o644)); err != nil {
		t.Fatal(err)
	}
	_, script := m.do("GET", "/boot.ipxe?mac=52:54:00:77:00:03", "")
	if !strings.Contains(script, "stage kernel: verify kernel of image lab@1") || strings.Contains(script, "\nkernel ") || !strings.Contains(script, "\nchain ") {
		t.Errorf("script =\n%s\nwant the reason, another attempt and no kernel", script)
	}
	if code, body := m.do("GET", "/describe/52:54:00:77:00:03", ""); code != http.StatusServiceUnavailable {
		t.Errorf("description = %d, %q; want 503", code, body)
	}
}

func TestPortsInUseAreExplained(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	run(t, l.new(t))
	l.State += "2"
	err := l.new(t).Run(t.Context())
	for _, want := range []string{"dhcp cannot listen on udp 10.77.0.1:67", "tftp cannot listen on udp 10.77.0.1:69", "http cannot listen on tcp 10.77.0.1:80", "address already in use", "ss -lnp 'sport = :80'"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v; want it to say %q", err, want)
		}
	}
	l.State += "3"
	l.Networks[0].Interface, l.Networks[0].Server = "nowhere0", netip.MustParseAddr("10.77.0.5")
	err = l.new(t).Run(t.Context())
	for _, want := range []string{"there is no interface nowhere0", "this host has no such address", "ip address add 10.77.0.5/24 dev nowhere0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v; want it to say %q", err, want)
		}
	}
}

func TestConfigMistakesAreToldAtOnce(t *testing.T) {
	l := newLab(t)
	l.Networks[0].Pool.Last = netip.MustParseAddr("10.78.0.1")
	l.Networks[0].Lease = time.Second
	l.Machines = append(l.Machines, l.Machines[0])
	l.Machines[1].KernelArgs = []string{"a || shell"}
	l.Machines[1].Loader = "grubb"
	_, err := New(l.Config, l.images, l.key, slog.New(slog.DiscardHandler))
	for _, want := range []string{"outside the network", "shorter than a boot", "is there twice", "is taken", "one word", `loader "grubb"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v; want it to say %q", err, want)
		}
	}
}

// Loaders of the admin's own are not known by their version: they would take over
// from themselves for ever.
func TestForeignLoadersDoNotTakeOver(t *testing.T) {
	s := &Server{foreign: map[string]bool{"undionly.kpxe": true}}
	if got := s.takesOver(loaders.SNPOnly, "amd64"); len(got) != 1 || got["efi"] != "snponly.efi" {
		t.Errorf("takesOver = %v; want snponly.efi alone", got)
	}
}

func TestMissingFilesAreNamed(t *testing.T) {
	for want, spoil := range map[string]func(*lab){
		"not in the catalogue":                 func(l *lab) { l.Machines[0].Image = images.Ref{Name: "other", Version: "1"} },
		"mkinitramfs":                          func(l *lab) { l.Initramfs += "?" },
		"swarmboot loaders fetch":              func(l *lab) { l.Loaders += "?" },
		"shimx64.efi is not there":             func(l *lab) { os.Remove(filepath.Join(l.Loaders, "shimx64.efi")) },
		"loader: secure-boot":                  func(l *lab) { l.Machines[0].Loader = "secure-boot" },
		"another swarmboot serves from this s": func(l *lab) { l.new(t) },
	} {
		l := newLab(t)
		spoil(&l)
		if _, err := New(l.Config, l.images, l.key, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("New = %v; want it to say %q", err, want)
		}
	}
}
