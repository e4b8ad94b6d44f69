package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
	"swarmboot/images"
	"swarmboot/images/catalogue"
	"swarmboot/images/metainfo"
)

// A hall is a boot server with many simulated machines (cmd/simulate): real
// packets and reports, but nothing boots. It is for what is about numbers.
type hall struct {
	t      *testing.T
	lan    *vm.LAN
	dir    string
	server *vm.Service
}

var hallNetwork = netip.MustParsePrefix("10.77.0.1/16")

// newHall starts a boot server with machines in racks of forty, and with more
// settings.
func newHall(t *testing.T, machines int, more ...string) *hall {
	t.Helper()
	h := &hall{t: t, dir: t.TempDir()}
	lan, err := vm.NewLAN(vm.TempName(lanPrefix, int(racks.Add(1))), hallNetwork, filepath.Join(h.dir, "lan"))
	if err != nil {
		t.Fatal(err)
	}
	h.lan = lan
	t.Cleanup(h.end)
	// machines0 is the far end of a cable into the bridge. All addresses of the
	// machines are this computer's.
	h.sh(`
		ip link add machines0 type veth peer name port0
		ip link set port0 master br0 up
		ip link set machines0 up
		ip route add local 10.77.64.0/18 dev lo
		for card in all br0 machines0; do
			echo 1 > /proc/sys/net/ipv4/conf/$card/accept_local
			echo 0 > /proc/sys/net/ipv4/conf/$card/rp_filter
			echo 8 > /proc/sys/net/ipv4/conf/$card/arp_ignore # no address is in use yet
		done`)
	for _, version := range []string{"1", "2"} {
		addImage(t, state.Folder(filepath.Join(h.dir, "state")), version, nonsense(version, 389))
	}
	h.serve(machines, more)
	return h
}

func (h *hall) end() {
	if err := h.lan.Close(); err != nil {
		h.t.Error(err)
	}
	if h.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(h.dir, "server.log"))
		h.t.Logf("the server's last words:\n%s", log[max(0, len(log)-3000):])
	}
}

func (h *hall) sh(script string) {
	h.t.Helper()
	if out, err := h.lan.Command(h.t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
}

// nonsense is a root of that many pieces of 256 KiB.
func nonsense(version string, pieces int) []byte {
	root := bytes.Repeat([]byte("0123456789abcdef"), pieces<<14)
	copy(root, version)
	return root
}

// addImage puts an image with that root into the catalogue of a state folder; its
// kernel is nonsense.
func addImage(t *testing.T, folder state.Folder, version string, root []byte) {
	t.Helper()
	key, err := folder.Key()
	if err != nil {
		t.Fatal(err)
	}
	c, err := folder.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hashes, torrent, err := metainfo.Hash(bytes.NewReader(root), "root", int64(len(root)), 256<<10, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Add(t.Context(), key,
		images.Manifest{Format: images.Format, Name: "lab", Version: version, Arch: "amd64", KernelRelease: "6.12.48+deb13-amd64", Filesystem: "squashfs", Pieces: hashes},
		map[catalogue.Part]string{catalogue.Kernel: file("kernel", []byte("kernel")), catalogue.Modules: file("modules", []byte("modules")),
			catalogue.Root: file("root", root), catalogue.Torrent: file("torrent", torrent)})
	if err != nil {
		t.Fatal(err)
	}
}

// mac is that of machine n, as cmd/simulate has it.
func mac(n int) string { return fmt.Sprintf("52:54:00:%02x:%02x:%02x", n>>16, n>>8&255, n&255) }

const adminURL = "http://127.0.0.1:8470"

// serve starts the boot server and waits until its pages answer.
func (h *hall) serve(machines int, more []string) {
	h.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "server: {state: state, loaders: %s, initramfs: initramfs}\n", filepath.Join(cache(h.t), "loaders"))
	fmt.Fprintf(&text, "networks: {hall: {interface: br0, address: %s, pool: 10.77.64.0-10.77.79.255}}\nracks:\n", hallNetwork)
	count := (machines + 39) / 40
	for r := range count {
		fmt.Fprintf(&text, "  r%02d: {image: lab@%d}\n", r+1, 1+r%5/4)
	}
	fmt.Fprintf(&text, "machines:\n")
	for r := range count {
		first, last := r*40, min(machines, r*40+40)-1
		fmt.Fprintf(&text, "  - {name: 'r%02d-n[01-%02d]', rack: r%02d, mac: '%s-%s'}\n", r+1, last-first+1, r+1, mac(first), mac(last))
	}
	text.WriteString(strings.Join(more, ""))
	for name, data := range map[string]string{"swarmboot.yaml": text.String(), "initramfs": "initramfs"} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(data), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	answers := func(ctx context.Context) error {
		return h.lan.Command(ctx, "curl", "-sf", "-o", "/dev/null", adminURL+"/api/v1/machines").Run()
	}
	var err error
	if h.server, err = h.lan.Serve(ctx, answers, filepath.Join(h.dir, "server.log"), swarmbootProgram(h.t), "serve", "--config", filepath.Join(h.dir, "swarmboot.yaml")); err != nil {
		h.t.Fatal(err)
	}
}

// powerOn starts the machines. Each takes boot to its login and reports every
// second.
func (h *hall) powerOn(machines int, boot, spread time.Duration, failing int) {
	h.t.Helper()
	running := func(context.Context) error { return nil }
	_, err := h.lan.Serve(h.t.Context(), running, filepath.Join(h.dir, "machines.log"), built(h.t, "bin/simulate"),
		"-server", "10.77.0.1", "-machines", fmt.Sprint(machines), "-boot", boot.String(), "-spread", spread.String(), "-failing", fmt.Sprint(failing))
	if err != nil {
		h.t.Fatal(err)
	}
}
