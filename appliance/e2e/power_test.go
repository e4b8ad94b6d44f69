package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/power/powertest"
	"swarmboot/appliance/internal/vm"
	"swarmboot/initramfs/stage"
)

// TestPower switches a machine by its management controller.
func TestPower(t *testing.T) {
	needs(t)
	one := machine{Name: "r1-n01", MAC: "52:54:00:77:0b:01", Image: "lab@1"}
	folder := labState(t)
	r := emptyRack(t, folder)
	m := r.serveControlled(folder, one, vm.MachineConfig{Firmware: vm.BIOS})
	power := func(action string) (string, error) {
		out, status := swarmboot(t, "machine", "power", action, one.Name, "--state", string(r.server.state))
		if status != 0 {
			return "", fmt.Errorf("power %s: status %d: %s", action, status, out)
		}
		return strings.TrimSpace(out), nil
	}
	is := func(t *testing.T, want string) {
		t.Helper()
		if said, err := power("status"); err != nil || said != one.Name+" "+want {
			t.Fatalf("power status says %q, %v; want %s", said, err, want)
		}
	}
	does := func(t *testing.T, action string) {
		t.Helper()
		if _, err := power(action); err != nil {
			t.Fatal(err)
		}
	}

	promise(t, "power on boots it to its login", func(t *testing.T) {
		is(t, "off")
		does(t, "on")
		if err := m.Watch(); err != nil {
			t.Fatal(err)
		}
		r.powers[one.MAC] = m
		is(t, "on")
		waitLogin(t, m)
		r.server.wait(t, one.MAC, stage.Ready)
	})
	promise(t, "power cycle boots it anew", func(t *testing.T) {
		does(t, "cycle")
		if err := m.WaitOff(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Watch(); err != nil {
			t.Fatal(err)
		}
		is(t, "on")
		deadline := time.After(vm.Stall)
		for tick := time.Tick(300 * time.Millisecond); r.server.machine(t, one.MAC).Boots < 2; <-tick {
			select {
			case <-deadline:
				t.Fatal("the server has not seen a second boot")
			default:
			}
		}
	})
	promise(t, "power off ends it", func(t *testing.T) {
		does(t, "off")
		if err := m.WaitOff(t.Context()); err != nil {
			t.Fatal(err)
		}
		is(t, "off")
	})
}

// serveControlled starts a boot server, like serve, for one machine, which is off,
// and the machine's management controller: Debian's ipmi_sim, which speaks IPMI with
// us and starts and stops QEMU.
func (r *rack) serveControlled(folder string, one machine, cfg vm.MachineConfig) *vm.Machine {
	r.t.Helper()
	if _, err := exec.LookPath("ipmi_sim"); err != nil {
		r.t.Fatal("missing: ipmi_sim; make deps brings it")
	}
	// In the LAN, whose loopback is its own.
	controller, host := netip.MustParseAddrPort("127.0.0.1:623"), netip.MustParseAddrPort("127.0.0.1:9002")
	password := filepath.Join(r.dir, "password")
	if err := os.WriteFile(password, []byte(powertest.Password), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.more += fmt.Sprintf("power:\n  ipmi: {via: ipmi, user: %s, password: %s, bios: true}\n", powertest.User, password)
	one.More += fmt.Sprintf("\n    power: ipmi\n    bmc: %s", controller.Addr())
	r.server = r.serve(folder, []machine{one})

	cfg.Name, cfg.MAC, cfg.BMC = "one", one.MAC, host
	m, command, err := r.lan.Plug(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	start := filepath.Join(r.dir, "start")
	if err := os.WriteFile(start, []byte("#!/bin/sh\nexec "+quoted(command)+" >>"+m.Dir()+"/qemu.log 2>&1\n"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	simulator, err := powertest.Simulator(r.dir, controller, fmt.Sprintf(`serial 15 %s %d codec VM
  startcmd %q
  startnow false
  poweroff_wait 5
  kill_wait 1`, host.Addr(), host.Port(), start))
	if err != nil {
		r.t.Fatal(err)
	}
	answers := func(ctx context.Context) error {
		return exec.CommandContext(ctx, swarmbootProgram(r.t), "machine", "power", "status", one.Name, "--state", folder).Run()
	}
	if _, err := r.lan.Serve(r.t.Context(), answers, filepath.Join(r.dir, "ipmi_sim.log"), simulator[0], simulator[1:]...); err != nil {
		r.t.Fatal(err)
	}
	return m
}

// quoted are words for a shell.
func quoted(words []string) string {
	var all []string
	for _, word := range words {
		all = append(all, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	return strings.Join(all, " ")
}
