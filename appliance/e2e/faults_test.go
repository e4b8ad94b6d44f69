package e2e

import (
	"syscall"
	"testing"
	"time"

	"swarmboot/appliance/internal/vm"
	"swarmboot/initramfs/stage"
	"swarmboot/peerd"
)

// TestFaults boots one machine whose swarm engine is killed twice while the
// system starts, and then another, from the first one alone: the server is
// stopped as soon as the second knows of the swarm.
func TestFaults(t *testing.T) {
	// A root shell on the second serial port, long before login.
	first := machine{Name: "first", MAC: "52:54:00:77:02:01", Image: "lab@1", KernelArgs: "systemd.debug_shell=ttyS1"}
	second := machine{Name: "second", MAC: "52:54:00:77:02:02", Image: "lab@1"}
	rack := newRack(t, first, second)

	m := rack.powerOn(vm.MachineConfig{Name: "first", MAC: first.MAC, Firmware: vm.BIOS, Rate: "100mbit", Second: true})
	promise(t, "a machine whose swarm engine is killed twice in mid-boot reaches login", func(t *testing.T) {
		if err := m.Second.Shell(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			killEngine(t, m.Second)
		}
		if now := rack.server.machine(t, first.MAC).Stage; now != stage.SwitchRoot {
			t.Errorf("the machine was at %s when the engine was killed; want switch-root", now)
		}
		login(t, m)
	})
	promise(t, "no read has failed, and no piece was fetched twice", func(t *testing.T) {
		noReadErrors(t, m.Console)
		p := rack.server.wait(t, first.MAC, stage.Seeding).Progress
		pieces := rack.server.image(t, first.Image).Manifest.Pieces
		// Single blocks may come twice, where two sources race for a late piece.
		if p.Restarts != 2 || p.Duplicates >= pieces.Length || p.Rejected != 0 {
			t.Errorf("progress %+v; want two restarts of the engine and no piece twice", *p)
		}
		// What an engine had of pieces that it had begun is lost with it.
		const begun = 6
		if extra := p.FromServer + p.FromPeers - pieces.Size; extra > 2*begun*pieces.Length {
			t.Errorf("%d bytes more than the image came; want at most two times what an engine has under way", extra)
		}
	})

	m = rack.powerOn(vm.MachineConfig{Name: "second", MAC: second.MAC, Firmware: vm.UEFI, Rate: "100mbit"})
	promise(t, "the server ends within 5 seconds when it is told to", func(t *testing.T) {
		rack.server.wait(t, second.MAC, stage.Swarm)
		if took, err := rack.server.stop(syscall.SIGTERM); err != nil || took > 5*time.Second {
			t.Errorf("it ended after %v: %v", took, err)
		}
	})
	promise(t, "without the server a machine reaches login and completes its image from the other", func(t *testing.T) {
		login(t, m)
		status := completes(t, m.Console)
		if p := status.Progress; p.FromPeers == 0 {
			t.Errorf("progress %+v; want bytes from the other machine", *p)
		} else {
			t.Logf("%d MB from the other machine, %d MB from the server before it was stopped", p.FromPeers>>20, p.FromServer>>20)
		}
	})
	isTheImage(t, rack.server, m, second)
}

// killEngine kills the swarm engine and waits until peerd has started another.
func killEngine(t *testing.T, c *vm.Console) {
	t.Helper()
	// -s: processes that end meanwhile are no matter. The brackets keep grep from
	// finding itself.
	run(t, c, `engine() { grep -slzx engin[e] /proc/[0-9]*/cmdline | cut -d / -f 3; }
old=$(engine) && kill -9 $old && until new=$(engine) && [ "$new" ] && [ "$new" != "$old" ]; do :; done`)
}

// completes waits until the machine itself says that its image is complete.
func completes(t *testing.T, c *vm.Console) peerd.Status {
	t.Helper()
	have, changed := 0, time.Now()
	for tick := time.Tick(2 * time.Second); ; <-tick {
		status := askPeerd(t, c)
		switch p := status.Progress; {
		case status.Stage == stage.Seeding:
			return status
		case p.Have != have:
			have, changed = p.Have, time.Now()
		case time.Since(changed) > vm.Stall:
			t.Fatalf("at %s with %d of %d pieces, nothing has come for %v", status.Stage, p.Have, p.Pieces, vm.Stall)
		}
	}
}
