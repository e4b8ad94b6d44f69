package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/api/apitest"
	"swarmboot/appliance/internal/journal"
	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/settings"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
	"swarmboot/images"
	"swarmboot/initramfs/stage"
)

// start serves server and returns a client, and what stops it.
func start(t *testing.T, socket string, server *apitest.Server, inForce settings.Complete) (*Client, func()) {
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	handler := api.Handler(server, server, "1", slog.New(slog.DiscardHandler))
	go func() { done <- Serve(ctx, l, handler, func() settings.Complete { return inForce }) }()
	return NewClient(socket), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v; want nil after a stop", err)
		}
	}
}

func TestAskAndAnswer(t *testing.T) {
	server := &apitest.Server{
		Config: api.Settings{File: "/etc/swarmboot.yaml", Loaded: time.Unix(1800000000, 0).UTC(), Problem: "a\nb"},
		Nets:   []bootserver.NetworkStatus{{Name: "lab", Server: netip.MustParseAddr("10.77.0.1"), Mode: bootserver.Full}},
		Known: []fleet.MachineStatus{{MAC: "52:54:00:77:00:01", Name: "r1-n01", Stage: stage.Failed, At: stage.Root, Reason: "disk full",
			Since: time.Unix(1800000000, 0).UTC(), Progress: &stage.Progress{Pieces: 4, Have: 2}}},
		Swarm: []bootserver.SwarmStatus{{Image: "lab@1", ImageBytes: 300 << 20, Copies: 1.25, Peers: 3}},
		Lines: []journal.Line{{Number: 1, Text: "boot begins"}, {Number: 2, Text: "offer sent"}},
	}
	config := settings.Complete{Config: bootserver.Config{
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
	}, Admin: settings.Admin{Listen: netip.MustParseAddrPort("127.0.0.1:8470")}, Hooks: []settings.Hook{{Name: "chat", URL: "http://chat/", Stages: []stage.Stage{stage.Ready}}},
		Power: map[string]power.Machine{"02:00:00:00:00:01": {Name: "r1-n01", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, BMC: netip.MustParseAddr("10.78.0.1"), Way: power.Way{Name: "bmc", Kind: power.IPMI}}}}
	client, stop := start(t, filepath.Join(t.TempDir(), "control.sock"), server, config)
	defer stop()
	machines, err := client.Machines(t.Context())
	if err != nil || !reflect.DeepEqual(machines, server.Known) {
		t.Errorf("Machines() = %+v, %v; want %+v", machines, err, server.Known)
	}
	status, err := client.Settings(t.Context())
	if err != nil || !reflect.DeepEqual(status, server.Config) {
		t.Errorf("Settings() = %+v, %v; want %+v", status, err, server.Config)
	}
	inForce, err := client.InForce(t.Context())
	if err != nil || !reflect.DeepEqual(inForce, config) {
		t.Errorf("InForce() = %+v, %v; want %+v", inForce, err, config)
	}
	networks, err := client.Networks(t.Context())
	if err != nil || !reflect.DeepEqual(networks, server.Nets) {
		t.Errorf("Networks() = %+v, %v; want %+v", networks, err, server.Nets)
	}
	swarms, err := client.Swarms(t.Context())
	if err != nil || !reflect.DeepEqual(swarms, server.Swarm) {
		t.Errorf("Swarms() = %+v, %v; want %+v", swarms, err, server.Swarm)
	}
}

func TestOneMachine(t *testing.T) {
	server := &apitest.Server{Known: []fleet.MachineStatus{{MAC: "52:54:00:77:00:01"}}, Lines: []journal.Line{{Number: 1}, {Number: 2, Text: "offer sent"}}}
	client, stop := start(t, filepath.Join(t.TempDir(), "control.sock"), server, settings.Complete{})
	defer stop()
	if d, err := client.Machine(t.Context(), "52:54:00:77:00:01"); err != nil || d.MAC != "52:54:00:77:00:01" {
		t.Errorf("Machine() = %+v, %v", d, err)
	}
	if _, err := client.Machine(t.Context(), "../settings"); err == nil || !strings.Contains(err.Error(), "no machine with the MAC address ../settings") {
		t.Errorf("Machine(../settings) = %v; want a refusal in words", err)
	}
	if lines, err := client.Log(t.Context(), "52:54:00:77:00:01", 1); err != nil || len(lines) != 1 || lines[0].Text != "offer sent" {
		t.Errorf("Log() = %+v, %v; want the second line", lines, err)
	}
	var heard []fleet.MachineStatus
	ctx, cancel := context.WithCancel(t.Context())
	err := client.Events(ctx, func(e api.MachinesEvent) { heard = append(heard, e...) }, func(api.RemovedEvent) {}, func(api.SwarmsEvent) { cancel() })
	if err != nil || len(heard) != 1 {
		t.Errorf("Events told of %+v and ended with %v; want one machine", heard, err)
	}
}

func TestChanges(t *testing.T) {
	server := &apitest.Server{Versions: []string{"1"}}
	client, stop := start(t, filepath.Join(t.TempDir(), "control.sock"), server, settings.Complete{})
	defer stop()
	machine := api.Adoption{MAC: "52:54:00:77:00:09", Name: "n"}
	if err := client.Adopt(t.Context(), machine); err != nil || len(server.Adopted()) != 1 {
		t.Errorf("Adopt() = %v", err)
	}
	if err := client.Adopt(t.Context(), machine); err == nil || !strings.Contains(err.Error(), "listed already") {
		t.Errorf("Adopt() again = %v; want why not", err)
	}
	stable := images.Ref{Name: "lab", Version: "stable"}
	if moved, err := client.Tag(t.Context(), stable, "1"); err != nil || moved.Image != "lab@1" {
		t.Errorf("Tag() = %+v, %v", moved, err)
	}
	if err := client.Untag(t.Context(), stable); err != nil || len(server.Tags()) != 0 {
		t.Errorf("Untag() = %v", err)
	}
}

// A server elsewhere is known by its certificate and wants a token.
func TestRemote(t *testing.T) {
	tokens := access.Tokens(filepath.Join(t.TempDir(), "tokens.json"))
	secret, err := tokens.New("anna", access.Read, 0)
	if err != nil {
		t.Fatal(err)
	}
	server := &apitest.Server{Versions: []string{"1"}}
	log := slog.New(slog.DiscardHandler)
	far := httptest.NewTLSServer(access.NewGate(tokens, log).Protect(api.Handler(server, server, "1", log), false))
	defer far.Close()
	far.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	print := sha256.Sum256(far.Certificate().Raw)
	fingerprint := hex.EncodeToString(print[:])
	for _, c := range []struct {
		name, token, fingerprint string
		want                     error
	}{
		{"right", secret, fingerprint, nil},
		{"no token", "", fingerprint, ErrRefused},
		{"a wrong token", "swarmboot_X", fingerprint, ErrRefused},
		{"another certificate", secret, strings.Repeat("00", 32), ErrUnreachable},
		{"a certificate that nobody vouches for", secret, "", ErrUnreachable},
	} {
		client, err := NewRemote(Remote{URL: far.URL, Token: c.token, Fingerprint: c.fingerprint})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Machines(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: Machines() = %v; want %v", c.name, err, c.want)
		}
		if err := client.Untag(t.Context(), images.Ref{Name: "lab", Version: "x"}); c.want == nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: Untag() with a token to read = %v; want a refusal", c.name, err)
		}
	}
	for _, r := range []Remote{{URL: "boot.example.org:8470"}, {URL: "http://10.0.0.1:8470", Token: "x"}, {URL: far.URL, Fingerprint: "ab:cd"}} {
		if _, err := NewRemote(r); err == nil {
			t.Errorf("NewRemote(%+v) = nil; want a refusal", r)
		}
	}
}

func TestNothingIsAnEmptyList(t *testing.T) {
	client, stop := start(t, filepath.Join(t.TempDir(), "control.sock"), &apitest.Server{}, settings.Complete{})
	defer stop()
	if machines, err := client.Machines(t.Context()); err != nil || machines == nil || len(machines) != 0 {
		t.Errorf("Machines() = %#v, %v; want an empty list that is not nil", machines, err)
	}
}

func TestSocketIsForItsOwnerAlone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	_, stop := start(t, socket, &apitest.Server{}, settings.Complete{})
	defer stop()
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestListenAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	client, stop := start(t, socket, &apitest.Server{}, settings.Complete{})
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
	client, stop = start(t, socket, &apitest.Server{}, settings.Complete{})
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
