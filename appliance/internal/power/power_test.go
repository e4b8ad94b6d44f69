package power

import (
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/power/powertest"
)

var card = net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}

func file(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// story is what is done to each kind of machine, which is off at first.
func story(t *testing.T, m Machine) {
	t.Helper()
	is := func(want State) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			got, err := m.State(t.Context())
			if err == nil && got == want {
				return
			}
			if err != nil || time.Now().After(deadline) { // a cycle takes its time
				t.Fatalf("State = %s, %v; want %s", got, err, want)
			}
		}
	}
	do := func(a Action, network bool) {
		t.Helper()
		if err := m.Do(t.Context(), a, network); err != nil {
			t.Fatalf("Do(%s, %v) = %v", a, network, err)
		}
	}
	is(IsOff)
	do(Cycle, false) // which is on for a machine that is off
	is(IsOn)
	do(Cycle, true)
	is(IsOn)
	do(Off, false)
	is(IsOff)
	do(On, false)
	is(IsOn)
}

func TestIPMI(t *testing.T) {
	sim := powertest.NewIPMI(t)
	m := Machine{Name: "r1-n01", MAC: card, BMC: sim.At.Addr(), Way: Way{Kind: IPMI, Port: sim.At.Port(), User: powertest.User, Password: file(t, "secret", powertest.Password+"\n", 0o600)}}
	story(t, m)
	if got, want := sim.Did(t), "power 1, boot pxe, power 0, power 1, power 0, power 1"; got != want {
		t.Errorf("ipmi_sim did %s; want %s", got, want)
	}
	m.Way.Password = file(t, "wrong", "wrong", 0o600)
	if s, err := m.State(t.Context()); err == nil || !strings.Contains(err.Error(), `power of r1-n01, ipmi at 127.0.0.1: log in as "anna"`) {
		t.Errorf("State with a wrong password = %s, %v", s, err)
	}
}

func TestRedfish(t *testing.T) {
	there := powertest.NewRedfish(t, "52:54:00:77:00:09", "52-54-00-77-00-01")
	at := netip.MustParseAddrPort(there.Listener.Addr().String())
	certificate := file(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: there.Certificate().Raw})), 0o644)
	good := Machine{Name: "r1-n01", MAC: card, BMC: at.Addr(), Way: Way{Name: "idrac", Kind: Redfish, Port: at.Port(), User: powertest.User,
		Password: file(t, "secret", powertest.Password, 0o600), Certificate: certificate}}
	story(t, good)
	if got, want := there.Did(1), "On Once Pxe ForceRestart ForceOff On"; got != want || there.Did(0) != "" {
		t.Errorf("the service did %s, and to another machine %s; want %s", got, there.Did(0), want)
	}
	for name, c := range map[string]struct {
		spoil func(*Machine)
		want  string // in the error; empty: none
	}{
		"a wrong password":               {func(m *Machine) { m.Way.Password = file(t, "wrong", "wrong", 0o600) }, "401"},
		"a password for all to read":     {func(m *Machine) { m.Way.Password = file(t, "open", powertest.Password, 0o644) }, "chmod 640"},
		"a certificate of nobody":        {func(m *Machine) { m.Way.Certificate = "" }, "power.idrac.certificate"},
		"any certificate":                {func(m *Machine) { m.Way.Certificate, m.Way.Unverified = "", true }, ""},
		"a file without certificates":    {func(m *Machine) { m.Way.Certificate = m.Way.Password }, "no certificate"},
		"a card that is not there":       {func(m *Machine) { m.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1} }, "none with the card 02:00:00:00:00:01"},
		"a controller that is not there": {func(m *Machine) { m.Way.Port = 1 }, "refused"},
	} {
		m := good
		c.spoil(&m)
		if s, err := m.State(t.Context()); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("State with %s = %s, %v; want %q", name, s, err, c.want)
		}
	}
}

func TestCommand(t *testing.T) {
	state := file(t, "state", "off", 0o644)
	script := file(t, "switch", `#!/bin/sh
case $2 in
status) cat "$1" ;;
on | cycle) echo on > "$1" ;;
off) echo off > "$1" ;;
network) [ "$3" = 52:54:00:77:00:01 ] ;;
esac
`, 0o755)
	m := Machine{MAC: card, Way: Way{Kind: Command, Command: []string{"sh", script, state, "{{.Action}}", "{{.MAC}}"}}}
	story(t, m)
	for _, c := range []struct {
		command []string
		want    string // in the error
	}{
		{[]string{"sh", "-c", "echo no such machine >&2; exit 3"}, "no such machine"},
		{[]string{"echo", "maybe"}, `"maybe"`},
		{[]string{"/nowhere"}, "no such file"},
		{[]string{"{{.Nmae}}"}, "Nmae"},
	} {
		m.Way.Command = c.command
		if s, err := m.State(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), card.String()) {
			t.Errorf("State by %v = %s, %v; want %q", c.command, s, err, c.want)
		}
	}
}

// TestRedfishtool has DMTF's own client do with the Redfish service of these tests
// what we do with it: else we might only agree with ourselves.
func TestRedfishtool(t *testing.T) {
	if _, err := exec.LookPath("redfishtool"); err != nil {
		t.Skip("needs redfishtool (package redfishtool)")
	}
	there := powertest.NewRedfish(t, "52:54:00:77:00:01")
	tool := func(words ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "redfishtool", append([]string{"-n", "-C", "-S", "Always", "-A", "Basic", "-u", powertest.User, "-p", powertest.Password, "-r", there.Listener.Addr().String()}, words...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("redfishtool %v: %v: %s", words, err, out)
		}
		return string(out)
	}
	power := func() string { return tool("Systems", "-1", "-P", "PowerState", "get") }
	if said := power(); !strings.Contains(said, "Off") {
		t.Errorf("PowerState is %s; want Off", said)
	}
	tool("Systems", "-1", "setBootOverride", "Once", "Pxe")
	tool("Systems", "-1", "reset", "On")
	if said := power(); !strings.Contains(said, "On") {
		t.Errorf("PowerState is %s; want On", said)
	}
	if said := tool("Systems", "-1", "EthernetInterfaces", "-i", "0"); !strings.Contains(said, "52:54:00:77:00:01") {
		t.Errorf("the network card is %s", said)
	}
	if got, want := there.Did(0), "Once Pxe On"; got != want {
		t.Errorf("the service did %s; want %s", got, want)
	}
}
