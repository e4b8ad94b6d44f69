package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swarmboot/appliance/internal/vm"
	"swarmboot/initramfs/stage"
)

// TestConsole looks at a machine with a screen and a serial line over a slow
// cable: both tell how far it is, the serial line in few plain words. What is on
// the screen is kept as a picture.
func TestConsole(t *testing.T) {
	wanted := machine{Name: "shown", MAC: "52:54:00:77:09:01", Image: "lab@1", KernelArgs: "console=tty0"}
	rack := newRack(t, wanted)
	m := rack.powerOn(vm.MachineConfig{Name: "shown", MAC: wanted.MAC, Firmware: vm.BIOS, Screen: true})
	promise(t, "it tells how much of the image has come, and from whom", func(t *testing.T) {
		expect(t, m, `swarmboot: machine \S+ boots from`)
		setRate(t, m, "2mbit") // the first reads take a while
		expect(t, m, `swarmboot: pieces: \d+ of \d+.*; \d+ peers?; \S+ MB from machines, \S+ MB from server`)
		if err := m.Screenshot(filepath.Join(t.ArtifactDir(), "screen.png")); err != nil {
			t.Fatal(err)
		}
	})
	setRate(t, m, "")
	rack.server.wait(t, wanted.MAC, stage.SwitchRoot)
	promise(t, "a serial line has no escapes and few lines", func(t *testing.T) {
		expect(t, m, `swarmboot: root mounted; starting the init of lab@1`)
		data, err := os.ReadFile(filepath.Join(m.Dir(), "console.log"))
		if err != nil {
			t.Fatal(err)
		}
		said := regexp.MustCompile(`(?s)swarmboot: machine.*starting the init`).Find(data)
		if strings.Contains(string(said), "\x1b") || strings.Count(string(said), "\n") > 20 {
			t.Errorf("the serial line had\n%s", said)
		}
	})
}
