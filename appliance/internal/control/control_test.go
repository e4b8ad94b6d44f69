package control

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"swarmboot/bootserver"
	"swarmboot/images"
	"swarmboot/initramfs/stage"
)

// answers is a Source of what it holds.
type answers struct {
	config   Config
	inForce  bootserver.Config
	networks []bootserver.NetworkStatus
	machines []bootserver.MachineStatus
	swarms   []bootserver.SwarmStatus
}

func (a answers) Config() Config                       { return a.config }
func (a answers) Networks() []bootserver.NetworkStatus { return a.networks }
func (a answers) Machines() []bootserver.MachineStatus { return a.machines }
func (a answers) InForce() bootserver.Config           { return a.inForce }
func (a answers) Strangers() []bootserver.Stranger     { return nil }
func (a answers) Swarms() []bootserver.SwarmStatus     { return a.swarms }

// start serves source and returns a client, and what stops the server.
func start(t *testing.T, socket string, source Source) (*Client, func()) {
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, source) }()
	return NewClient(socket), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v; want nil after a stop", err)
		}
	}
}

func TestAskAndAnswer(t *testing.T) {
	want := answers{
		Config{File: "/etc/swarmboot.yaml", Loaded: time.Unix(1800000000, 0).UTC(), Problem: "a\nb"},
		bootserver.Config{
			Networks: []bootserver.Network{{
				Name: "lab", Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), Lease: time.Hour,
				Pool:   bootserver.Range{First: netip.MustParseAddr("10.77.0.2"), Last: netip.MustParseAddr("10.77.0.9")},
				Routes: []bootserver.Route{{To: netip.MustParsePrefix("10.80.0.0/16"), Via: netip.MustParseAddr("10.77.0.254")}},
			}},
			Machines: []bootserver.Machine{{
				MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Name: "r1-n01", Network: "lab",
				Boot: bootserver.Boot{Image: images.Ref{Name: "lab", Version: "1"}, KernelArgs: []string{"quiet"}},
			}},
			State: "/s",
		},
		[]bootserver.NetworkStatus{{Name: "lab", Server: netip.MustParseAddr("10.77.0.1"), Mode: bootserver.Full}},
		[]bootserver.MachineStatus{{MAC: "52:54:00:77:00:01", Name: "r1-n01", Stage: stage.Failed, At: stage.Root, Reason: "disk full",
			Since: time.Unix(1800000000, 0).UTC(), Progress: &stage.Progress{Pieces: 4, Have: 2}}},
		[]bootserver.SwarmStatus{{Image: "lab@1", ImageBytes: 300 << 20, Copies: 1.25, Peers: 3}},
	}
	client, stop := start(t, filepath.Join(t.TempDir(), "control.sock"), want)
	defer stop()
	machines, err := client.Machines(t.Context())
	if err != nil || !reflect.DeepEqual(machines, want.machines) {
		t.Errorf("Machines() = %+v, %v; want %+v", machines, err, want.machines)
	}
	config, err := client.Config(t.Context())
	if err != nil || config != want.config {
		t.Errorf("Config() = %+v, %v; want %+v", config, err, want.config)
	}
	inForce, err := client.InForce(t.Context())
	if err != nil || !reflect.DeepEqual(inForce, want.inForce) {
		t.Errorf("InForce() = %+v, %v; want %+v", inForce, err, want.inForce)
	}
	networks, err := client.Networks(t.Context())
	if err != nil || !reflect.DeepEqual(networks, want.networks) {
		t.Errorf("Networks() = %+v, %v; want %+v", networks, err, want.networks)
	}
	swarms, err := client.Swarms(t.Context())
	if err != nil || !reflect.DeepEqual(swarms, want.swarms) {
		t.Errorf("Swarms() = %+v, %v; want %+v", swarms, err, want.swarms)
	}
}

func TestNothingIsAnEmptyList(t *testing.T) {
	client, stop := start(t, filepath.Join(t.TempDir(), "control.sock"), answers{})
	defer stop()
	if machines, err := client.Machines(t.Context()); err != nil || machines == nil || len(machines) != 0 {
		t.Errorf("Machines() = %#v, %v; want an empty list that is not nil", machines, err)
	}
}

func TestSocketIsForItsOwnerAlone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	_, stop := start(t, socket, answers{})
	defer stop()
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestListenAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	client, stop := start(t, socket, answers{})
	if _, err := Listen(socket); err == nil || !strings.Contains(err.Error(), "runs with this state folder already") {
		t.Errorf("Listen beside a living server = %v; want a refusal", err)
	}
	if _, err := client.Machines(t.Context()); err != nil {
		t.Errorf("the living server was harmed: %v", err)
	}
	stop()

	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as after kill -9
	dead.Close()
	if _, err := client.Machines(t.Context()); err == nil || !strings.Contains(err.Error(), "swarmboot serve") {
		t.Errorf("Machines() from a dead socket = %v; want what to do", err)
	}
	client, stop = start(t, socket, answers{})
	defer stop()
	if _, err := client.Machines(t.Context()); err != nil {
		t.Errorf("Machines() after a new start: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "control.sock")).Machines(t.Context())
	if err == nil || !strings.Contains(err.Error(), "swarmboot serve") {
		t.Errorf("Machines() without a server = %v; want what to do", err)
	}
}
