package dhcp6

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"swarmboot/bootserver/internal/dhcp"
)

// wires are the server's wire, a router that relays, and a machine behind it.
const wires = `
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
ip link set lo up
ip netns add router
ip netns add machine
ip link add srv0 type veth peer name eth0 netns router
ip link add eth1 netns router type veth peer name eth0 address 52:54:00:77:00:01 netns machine
ip address add fd77::1/64 dev srv0 nodad
ip link set srv0 up
ip -n router address add fd77::fe/64 dev eth0 nodad
ip -n router address add fd78::1/64 dev eth1 nodad
ip -n router link set eth0 up
ip -n router link set eth1 up
ip netns exec machine sysctl -qw net.ipv6.conf.eth0.accept_dad=0
ip -n machine link set lo up
ip -n machine link set eth0 up`

// dhclient gets an address through ISC's relay.
func TestThroughARelay(t *testing.T) {
	if os.Getenv("SWARMBOOT_E2E") == "" {
		t.Skip("set SWARMBOOT_E2E=1 for tests with real programs in network namespaces")
	}
	for _, program := range []string{"ip", "mount", "dhclient", "dhcrelay"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s; scripts/install-deps installs it", program)
		}
	}
	const inside = "SWARMBOOT_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Error(err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	run := func(command string) string {
		t.Helper()
		args := strings.Fields(command)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.WaitDelay = time.Second // dhclient leaves a daemon behind that keeps the output open
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() != 0 {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	for command := range strings.SplitSeq(strings.TrimSpace(wires), "\n") {
		run(command)
	}

	s := newServer(t)
	conn, err := Listen(ctx, "srv0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn, "srv0") }()
	relay := exec.CommandContext(ctx, "ip", strings.Fields("netns exec router dhcrelay -6 -d -l eth1 -u fd77::1%eth0")...)
	if err := relay.Start(); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec env > "+dir+"/told\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	said := run("ip netns exec machine dhclient -6 -1 -v -sf " + script + " -lf " + dir + "/leases -pf " + dir + "/pid eth0")
	told, err := os.ReadFile(filepath.Join(dir, "told"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for a := annex.First; !annex.Last.Less(a); a = a.Next() {
		mac, ok := s.Owner(a)
		found = found || ok && mac == dhcp.MAC{0x52, 0x54, 0, 0x77, 0, 1} && strings.Contains(string(told), "new_ip6_address="+a.String())
	}
	if !found {
		t.Errorf("dhclient was told\n%s\nwant an address of the annex's pool, which the server knows to be its machine's; it said\n%s", told, said)
	}
	cancel()
	relay.Wait()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
