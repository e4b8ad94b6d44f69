package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/internal/vm"
)

// TestPages looks at the admin pages while two thousand machines boot.
func TestPages(t *testing.T) {
	needsChromium(t)
	const machines = 2000                              // and two that nobody has listed
	switchFile := filepath.Join(t.TempDir(), "switch") // all machines hang on one
	if err := os.WriteFile(switchFile, []byte("on"), 0o644); err != nil {
		t.Fatal(err)
	}
	const program = `case $1 in status) cat "$0" ;; on | off) echo $1 > "$0" ;; esac`
	h := newHall(t, machines, fmt.Sprintf("power: {pdu: {via: command, command: [sh, -c, '%s', '%s', '{{.Action}}']}}\ndefaults: {power: pdu}\n", program, switchFile))
	h.powerOn(machines+2, time.Minute, 20*time.Second, 8)
	lookAtPages(t, h.lan, filepath.Join(h.dir, "state"), "pages.test.mjs")
}

// TestPagesOfMachines looks at the admin pages while machines boot in QEMU, which
// are adopted, switched on and given another image there.
func TestPagesOfMachines(t *testing.T) {
	needs(t)
	needsChromium(t)
	folder := newStateWithLab(t)
	publish(t, state.Folder(folder), imageIn(t, filepath.Join(cache(t), "lab-state"), "lab12@1"), "lab@2")
	if said, status := swarmboot(t, "image", "tag", "lab@stable", "lab@1", "--state", folder); status != 0 {
		t.Fatalf("image tag: %s", said)
	}
	listed := machine{Name: "r1-n01", MAC: "52:54:00:77:0c:01", Image: "lab@stable", More: "\n    rack: r1"}
	rack := emptyRack(t, folder)
	rack.image, rack.more = "lab@1", "racks: {r1: {}}\nunknown: discover\n"
	rack.serveControlled(folder, listed, vm.MachineConfig{Firmware: vm.UEFI, Rate: slow})
	rack.powerOn(vm.MachineConfig{Name: "stranger", MAC: "52:54:00:77:0c:02", Firmware: vm.BIOS, Rate: slow})
	lookAtPages(t, rack.lan, folder, "machines.test.mjs")
}

func needsChromium(t *testing.T) {
	t.Helper()
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("tests the programs in build/; run it by make e2e-web, which sets SWARMBOOT_E2E=1")
	}
	for _, program := range []string{"chromium", "node", "ip", "tcpdump", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("missing: %s; make deps brings it", program)
		}
	}
}

// lookAtPages runs a file of appliance/webui/page/test, which looks at the pages of
// the boot server on lan with Debian's Chromium.
func lookAtPages(t *testing.T, lan *vm.LAN, folder, file string) {
	t.Helper()
	test, err := filepath.Abs("../webui/page/test/" + file)
	if err != nil {
		t.Fatal(err)
	}
	token, status := swarmboot(t, "token", "new", "anna", "--scope", "write", "--state", folder)
	if status != 0 {
		t.Fatalf("token new: %s", token)
	}
	// Each wait in the tests has a limit of its own; this one is for a hang.
	cmd := lan.Command(t.Context(), "node", "--test", "--test-timeout=900000", "--test-reporter=spec", test)
	cmd.Env = append(os.Environ(), "SWARMBOOT_URL="+adminURL, "SWARMBOOT_TOKEN="+strings.TrimSpace(token), "SWARMBOOT_SHOTS="+t.ArtifactDir())
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("%v; screenshots are in %s", err, t.ArtifactDir())
	}
}
