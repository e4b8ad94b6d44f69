package e2e

import (
	"context"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/appliance/internal/vm"
)

// TestFirmwareRelayed boots a machine whose network the boot server is not on: a
// router is between them, and a relay on it.
func TestFirmwareRelayed(t *testing.T) {
	needsPatience(t)
	wanted := machine{Name: "afar", MAC: "52:54:00:77:09:01", Image: "lab@1"}
	rack := newRackRelayed(t, wanted)
	m := rack.powerOn(vm.MachineConfig{Name: "afar", MAC: wanted.MAC, Firmware: vm.BIOS})
	bootsToLogin(t, rack, m, wanted)
	if address := run(t, m.Console, "ip -4 -o address show scope global"); !strings.Contains(address, " 10.77.0.1") {
		t.Errorf("it has %q; want an address of its own network's pool, 10.77.0.100 to 199", address)
	}
	if route := run(t, m.Console, "ip route show default"); !strings.Contains(route, "via 10.77.0.1 ") {
		t.Errorf("its default route is %q; want one via 10.77.0.1", route)
	}
}

// newRackRelayed has the boot server at 10.88.0.2 on a LAN of its own. The
// machines' LAN is the host that routes between the two, and relays DHCP.
func newRackRelayed(t *testing.T, machines ...machine) *rack {
	t.Helper()
	needs(t)
	if _, err := exec.LookPath("dhcrelay"); err != nil {
		t.Skip("needs dhcrelay (package isc-dhcp-relay)")
	}
	folder := labState(t)
	far, err := vm.NewLAN(vm.TempName(lanPrefix, int(racks.Add(1))), netip.MustParsePrefix("10.88.0.2/24"), filepath.Join(filepath.Dir(folder), "far"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	})
	r := emptyRack(t, folder)
	r.far = far
	if err := r.lan.Join(far, "uplink", netip.MustParsePrefix("10.88.0.1/24")); err != nil {
		t.Fatal(err)
	}
	for lan, command := range map[*vm.LAN]string{
		r.lan: "sysctl -qw net.ipv4.ip_forward=1",
		far:   "ip route add 10.77.0.0/24 via 10.88.0.1",
	} {
		args := strings.Fields(command)
		if out, err := lan.Command(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	started := func(context.Context) error { return nil }
	if _, err := r.lan.Serve(t.Context(), started, filepath.Join(r.dir, "dhcrelay.log"), "dhcrelay", "-4", "-d", "-a", "-id", vm.Bridge, "-iu", "uplink", "10.88.0.2"); err != nil {
		t.Fatal(err)
	}
	r.server = r.serve(folder, machines)
	return r
}
