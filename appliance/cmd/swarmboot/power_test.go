package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/appliance/internal/power"
	"swarmboot/appliance/internal/power/powertest"
	"swarmboot/bootserver/fleet"
)

// TestPower switches machines over API and Redfish.
func TestPower(t *testing.T) {
	folder := t.TempDir()
	password := filepath.Join(folder, "password")
	if err := os.WriteFile(password, []byte(powertest.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	macs := []string{"52:54:00:77:00:01", "52:54:00:77:00:02"}
	there := powertest.NewRedfish(t, macs...)
	at := netip.MustParseAddrPort(there.Listener.Addr().String())
	machines := map[string]power.Machine{}
	server, stop := serveOne(t, folder)
	defer stop()
	server.Known = nil
	for i, mac := range macs {
		card, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		name := []string{"r1-n01", "r1-n02"}[i]
		machines[mac] = power.Machine{Name: name, MAC: card, BMC: at.Addr(), Way: power.Way{Kind: power.Redfish, User: powertest.User, Password: password, Port: at.Port(), Unverified: true}}
		server.Known = append(server.Known, fleet.MachineStatus{MAC: mac, Name: name, Rack: "r1"})
	}
	server.Known = append(server.Known, fleet.MachineStatus{MAC: "52:54:00:77:00:03", Name: "r2-n01", Rack: "r2"})
	server.Board.Set(machines)
	for _, c := range []struct {
		args         string
		out, failure string
	}{
		{"machine power status r1-n01", "r1-n01 off", ""},
		{"machine power on r1-n01 --network", "r1-n01 power on", ""},
		{"rack power cycle r1 --stagger 1ms", "r1-n02 power cycle", ""},
		{"machine power status r1-n[01-02]", "r1-n02 on", ""},
		{"rack power off r1", "r1-n01 power off", ""},
		{"machine power off r2-n01", "", "give it power, and the address of its BMC"},
		{"rack power on r9", "", "no machine in a rack r9"},
		{"machine power on", "", "want NAME|MAC|RANGE"},
	} {
		out, failure := swarmboot(t, append(strings.Fields(c.args), "--state", folder)...)
		if !strings.Contains(out, c.out) || (failure == "") != (c.failure == "") || !strings.Contains(failure, c.failure) {
			t.Errorf("%s = %q, %q; want %q, %q", c.args, out, failure, c.out, c.failure)
		}
	}
	if got, want := there.Did(0)+", "+there.Did(1), "Once Pxe On ForceRestart ForceOff, On ForceOff"; got != want {
		t.Errorf("the controllers did %s; want %s", got, want)
	}
}
