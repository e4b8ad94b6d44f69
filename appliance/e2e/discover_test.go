package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/vm"
	"swarmboot/bootserver"
	"swarmboot/initramfs/stage"
)

// TestDiscover adopts a machine that the settings do not name: it tells what it
// is, waits, and boots on once it is written into the settings file, all of that
// with one boot server that is never started anew.
func TestDiscover(t *testing.T) {
	const mac, name = "52:54:00:77:07:01", "r7-new"
	rack := newRack(t)
	file := string(rack.server.state) + ".yaml"

	promise(t, "the settings file is taken up while the server runs", func(t *testing.T) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		edited := "# Who is not listed says what it is.\nunknown: discover\n" +
			strings.Replace(string(text), "defaults:\n", "defaults:\n  image: lab@1\n", 1)
		if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
			t.Fatal(err)
		}
		rack.server.logged(t, `msg="settings loaded"`)
		networks, err := rack.server.client.Networks(t.Context())
		if err != nil || len(networks) != 1 || networks[0].Unknown != bootserver.Discover {
			t.Errorf("networks = %+v, %v; want unknown machines discovered", networks, err)
		}
	})

	m := rack.powerOn(vm.MachineConfig{Name: "new", MAC: mac, Firmware: vm.BIOS})
	promise(t, "a machine that is not listed tells what it is", func(t *testing.T) {
		rack.server.wait(t, mac, stage.Discovered)
		list, err := rack.server.client.Strangers(t.Context())
		if err != nil || len(list) != 1 || list[0].MAC != mac || list[0].Inventory == nil {
			t.Fatalf("unknown machines = %+v, %v; want %s with its inventory", list, err, mac)
		}
		i := list[0].Inventory
		if i.Vendor != "QEMU" || i.CPUs < 1 || i.Memory < 512<<20 || len(i.Cards) != 1 || i.Cards[0].MAC != mac || !i.Cards[0].Link {
			t.Errorf("inventory = %+v", i)
		}
		said, status := swarmboot(t, "machine", "unknown", "--state", string(rack.server.state))
		if status != 0 || !strings.Contains(said, mac) || !strings.Contains(said, "QEMU") {
			t.Errorf("machine unknown: status %d: %s", status, said)
		}
		t.Logf("it is\n%s", said)
	})
	promise(t, "it waits", func(t *testing.T) {
		time.Sleep(7 * time.Second) // it asks every five
		if now := rack.server.machine(t, mac); now.Stage != stage.Discovered || now.Image != "" {
			t.Errorf("it is at %s with %q; want it to wait without an image", now.Stage, now.Image)
		}
	})
	promise(t, "one command writes it into the settings, and it boots on", func(t *testing.T) {
		said, status := swarmboot(t, "machine", "adopt", mac, "--name", name, "--state", string(rack.server.state))
		if status != 0 {
			t.Fatalf("adopt: status %d: %s", status, said)
		}
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), "# Who is not listed says what it is.\n") || !strings.Contains(string(text), "# loglevel=4") {
			t.Errorf("the settings file has lost its comments: %v\n%s", err, text)
		}
		login(t, m)
		if got := run(t, m.Console, "hostname"); got != name {
			t.Errorf("its name is %q; want %q", got, name)
		}
		if now := rack.server.wait(t, mac, stage.Ready); now.Boots != 1 || now.Image != "lab@1" || now.Name != name {
			t.Errorf("the server says %+v; want %s with lab@1 after one boot: kernel and arguments were right already", now, name)
		}
	})
}
