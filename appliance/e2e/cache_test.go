package e2e

import (
	"testing"

	"swarmboot/appliance/e2e/vm"
	"swarmboot/bootserver"
	"swarmboot/initramfs/stage"
)

// TestCache boots a machine that keeps pieces on a disk: once with an empty
// partition, once with what the first boot has left there, and once with a
// partition that is somebody else's.
func TestCache(t *testing.T) {
	needsImages(t)
	m := machine{Name: "cached", MAC: "52:54:00:77:07:01", Image: "lab@1", More: "\n    cache: swarmboot-cache"}
	rack := newRackOf(t, labState(t), m)
	disk := newDisk(t, "swarmboot-cache")
	boot := func(t *testing.T, until stage.Stage) (bootserver.MachineStatus, *vm.Machine) {
		t.Helper()
		on := rack.powerOn(vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: vm.BIOS, Disk: disk})
		login(t, on)
		return rack.server.wait(t, m.MAC, until), on
	}
	pieces := rack.server.image(t, m.Image).Manifest.Pieces
	promise(t, "its first boot keeps every piece", func(t *testing.T) {
		status, on := boot(t, stage.Seeding)
		if got := status.Progress.FromServer; got < pieces.Size/2 {
			t.Errorf("%d bytes came from the server; want the image's %d", got, pieces.Size)
		}
		said := "dmesg | grep -q 'the cache has every piece' && echo kept"
		run(t, on.Console, "for i in $(seq 60); do "+said+" && break; sleep 1; done")
		if err := on.Kill(); err != nil { // the plug is pulled
			t.Fatal(err)
		}
	})
	promise(t, "its second boot moves less than 5 % of the image", func(t *testing.T) {
		status, on := boot(t, stage.Seeding)
		if got := status.Progress.FromServer + status.Progress.FromPeers; got*20 >= pieces.Size {
			t.Errorf("%d of %d bytes came over the network", got, pieces.Size)
		} else {
			t.Logf("%d of %d bytes came over the network", got, pieces.Size)
		}
		isTheImage(t, rack.server, on, m)
		if err := on.Kill(); err != nil {
			t.Fatal(err)
		}
	})
	promise(t, "a partition with something else on it is left alone, and the server is told", func(t *testing.T) {
		leavesAlone(t, rack, m, disk)
	})
}
