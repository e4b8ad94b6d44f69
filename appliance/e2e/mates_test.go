package e2e

import (
	"testing"
	"time"

	"swarmboot/appliance/internal/vm"
	"swarmboot/images/catalogue"
	"swarmboot/initramfs/stage"
)

// TestMates boots one machine, and others of its rack from it, as far as our init;
// then the one is switched off, and the others boot from the server.
func TestMates(t *testing.T) {
	needsImages(t)
	const more = "\n    boot_from_peers: true"
	first := machine{Name: "mate", MAC: "52:54:00:77:08:01", Image: "lab@1", More: more}
	ipxe := machine{Name: "ipxe", MAC: "52:54:00:77:08:02", Image: "lab@1", More: more}
	grub := machine{Name: "grub", MAC: "52:54:00:77:08:03", Image: "lab@1", More: more}
	rack := newRack(t, first, ipxe, grub)

	on := rack.powerOn(vm.MachineConfig{Name: first.Name, MAC: first.MAC, Firmware: vm.BIOS})
	serving := func(sent int64) int64 {
		t.Helper()
		for begun := time.Now(); time.Since(begun) < 3*time.Minute; time.Sleep(time.Second) {
			if p := rack.server.machine(t, first.MAC).Progress; p != nil && p.Serving != nil && p.Serving.Sent >= sent {
				return p.Serving.Sent
			}
		}
		t.Fatalf("it has not served %d bytes; progress %+v", sent, rack.server.machine(t, first.MAC).Progress)
		return 0
	}
	promise(t, "a machine that is up serves kernel and initramfs", func(t *testing.T) {
		rack.server.wait(t, first.MAC, stage.Seeding)
		serving(0)
	})
	image := rack.server.image(t, first.Image)
	size := catalogue.Describe(&image.Manifest, catalogue.Kernel).Size + catalogue.Describe(&image.Manifest, catalogue.Modules).Size
	boots := func(m machine, firmware vm.Firmware) {
		t.Helper()
		before := rack.server.machine(t, m.MAC).Boots
		on := rack.powerOn(vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: firmware})
		for tick := time.Tick(100 * time.Millisecond); rack.server.machine(t, m.MAC).Boots == before; {
			<-tick // what the server knows is of the last boot
		}
		rack.server.wait(t, m.MAC, stage.Network)
		if err := on.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	promise(t, "iPXE boots from it", func(t *testing.T) {
		boots(ipxe, vm.BIOS)
		size = max(size, serving(size))
	})
	promise(t, "GRUB boots from it", func(t *testing.T) {
		boots(grub, vm.UEFI)
		t.Logf("it has sent %d bytes", serving(2*size))
	})
	promise(t, "when it is gone, others boot from the server", func(t *testing.T) {
		if err := on.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, m := range []machine{ipxe, grub} {
			begun := time.Now()
			boots(m, map[string]vm.Firmware{"ipxe": vm.BIOS, "grub": vm.UEFI}[m.Name])
			rack.server.logged(t, "rack mate", "machine="+m.MAC)
			t.Logf("%s: %v from power-on to init's network", m.Name, time.Since(begun).Round(time.Second))
		}
	})
}
