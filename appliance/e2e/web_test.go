package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPages looks at the admin pages with Debian's Chromium while two thousand
// machines boot: appliance/webui/page/test has what is looked at.
func TestPages(t *testing.T) {
	if os.Getenv("SWARMBOOT_E2E") != "1" {
		t.Skip("tests the programs in build/; run it by make e2e-web, which sets SWARMBOOT_E2E=1")
	}
	for _, program := range []string{"chromium", "node", "ip", "tcpdump", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("missing: %s; make deps brings it", program)
		}
	}
	const machines = 2000                              // and two that nobody has listed
	switchFile := filepath.Join(t.TempDir(), "switch") // all machines hang on one
	if err := os.WriteFile(switchFile, []byte("on"), 0o644); err != nil {
		t.Fatal(err)
	}
	const program = `case $1 in status) cat "$0" ;; on | off) echo $1 > "$0" ;; esac`
	h := newHall(t, machines, fmt.Sprintf("power: {pdu: {via: command, command: [sh, -c, '%s', '%s', '{{.Action}}']}}\ndefaults: {power: pdu}\n", program, switchFile))
	h.powerOn(machines+2, time.Minute, 20*time.Second, 8)
	tests, err := filepath.Abs("../webui/page/test")
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.lan.Command(t.Context(), "node", "--test", "--test-concurrency=1", "--test-timeout=400000", "--test-reporter=spec", tests+"/")
	token, status := swarmboot(t, "token", "new", "anna", "--scope", "write", "--state", filepath.Join(h.dir, "state"))
	if status != 0 {
		t.Fatalf("token new: %s", token)
	}
	cmd.Env = append(os.Environ(), "SWARMBOOT_URL="+adminURL, "SWARMBOOT_TOKEN="+strings.TrimSpace(token), "SWARMBOOT_SHOTS="+t.ArtifactDir())
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("%v; screenshots are in %s", err, t.ArtifactDir())
	}
}
