package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"swarmboot/appliance/internal/vm"
	"swarmboot/initramfs/stage"
)

// packaged is the one file of build/package with such a name. It skips a test of
// packages that was not asked for.
func packaged(t *testing.T, pattern string) string {
	t.Helper()
	needs(t)
	if os.Getenv("SWARMBOOT_PACKAGE") != "1" {
		t.Skip("takes minutes; run it by make e2e-package, which sets SWARMBOOT_PACKAGE=1")
	}
	files, _ := filepath.Glob(built(t, "package/"+pattern))
	if len(files) != 1 {
		t.Fatalf("%s in build/package: %v; want one, which make package makes", pattern, files)
	}
	return files[0]
}

// TestPackage installs the Debian package in a Debian system, boots that in QEMU
// by our own means, and does what an admin does then: settings, an image, the
// service, and a machine that boots from it. The service must work as its unit
// lets it, which is not as root.
func TestPackage(t *testing.T) {
	deb := packaged(t, "*.deb")
	folder := newStateWithLab(t)
	theirs := newStateWithLab(t) // what the server on the machine is to have
	customize := filepath.Join(t.TempDir(), "install")
	write(t, customize, strings.Join([]string{
		"#!/bin/sh", "set -eu",
		"cp " + deb + " $1/package.deb",
		// The builder leaves manuals out of images; this system is to be like any other.
		"chroot $1 dpkg --path-include='/usr/share/man/*' --install /package.deb",
		"rm $1/package.deb",
		"cp -r " + theirs + "/. $1/var/lib/swarmboot",
		"chroot $1 chown -R swarmboot:swarmboot /var/lib/swarmboot",
		"cp -r " + filepath.Join(cache(t), "loaders") + " $1/usr/lib/swarmboot/loaders",
		"",
	}, "\n"))
	if err := os.Chmod(customize, 0o755); err != nil {
		t.Fatal(err)
	}
	promise(t, "the package can be installed in a clean Debian system", func(t *testing.T) {
		shell(t, "", swarmbootProgram(t), "image", "build", "packaged@1", "--from", "image:lab@1", "--customize", customize, "--state", folder)
	})
	want := machine{Name: "packaged", MAC: "52:54:00:77:06:01", Image: "packaged@1"}
	rack := newRackOf(t, folder, want)
	m := rack.powerOn(vm.MachineConfig{Name: want.Name, MAC: want.MAC, Firmware: vm.BIOS, Memory: 2048})
	login(t, m)
	do := func(t *testing.T, command string) string { t.Helper(); return run(t, m.Console, command) }

	promise(t, "after installation nothing is served", func(t *testing.T) {
		if got := do(t, "systemctl is-enabled swarmboot; systemctl is-active swarmboot; true"); got != "disabled\ninactive" {
			t.Errorf("the service is %q; want disabled and inactive", got)
		}
		result, err := m.Console.Run(t.Context(), "swarmboot check /etc/swarmboot/swarmboot.yaml")
		if err != nil || result.Status != 1 || !strings.Contains(result.Output, "networks") {
			t.Errorf("check of the settings as installed: %+v, %v; want to be told that a network is missing", result, err)
		}
	})
	promise(t, "manual and completions are there", func(t *testing.T) {
		do(t, "zcat /usr/share/man/man1/swarmboot-machine-watch.1.gz | grep -q 'whole screen' && bash -n /usr/share/bash-completion/completions/swarmboot")
	})
	promise(t, "the service starts as its own user with two capabilities", func(t *testing.T) {
		// Two cards with a cable between them: the server's, and that of a client.
		do(t, "ip link add boot0 type veth peer name client0 && ip address add 10.99.0.1/24 dev boot0 && ip link set boot0 up && ip link set client0 up")
		// 6881 is taken: this system is a machine itself, and its peerd has it.
		do(t, `printf '%s\n' 'server: {swarm: 6882}' 'unknown: deny' 'defaults: {image: lab@1}' 'networks:' '  lab: {interface: boot0, address: 10.99.0.1/24, pool: 10.99.0.100-10.99.0.109, unknown: discover}' 'machines:' '  - {mac: "02:00:00:00:00:01", name: one}' >/tmp/new && cat /tmp/new >/etc/swarmboot/swarmboot.yaml`)
		do(t, "swarmboot image tag lab@stable lab@1 && swarmboot check /etc/swarmboot/swarmboot.yaml && systemctl enable --now swarmboot || { journalctl --no-pager -n 30 -u swarmboot; exit 1; }")
		if got := do(t, "ps -o user= -C swarmboot; grep CapEff /proc/$(pidof swarmboot)/status; stat -c %U /var/lib/swarmboot/images/tags/lab/stable"); strings.Fields(got)[0] != "swarmboo+" && strings.Fields(got)[0] != "swarmboot" || !strings.Contains(got, "0000000000002400") || !strings.HasSuffix(got, "swarmboot") {
			t.Errorf("it runs as %q; want user swarmboot with CAP_NET_BIND_SERVICE and CAP_NET_RAW, and what root has tagged its own", got)
		}
		if got := do(t, "systemctl show -P StatusText swarmboot"); !strings.Contains(got, "machines are up") {
			t.Errorf("systemd was told %q", got)
		}
		t.Log(do(t, "systemd-analyze security --no-pager swarmboot | tail -1"))
	})
	promise(t, "it gives out an address, files and answers", func(t *testing.T) {
		do(t, `mkdir -p /run/systemd/network && printf '[Match]\nName=client0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n' >/run/systemd/network/10-client.network &&
			systemctl restart systemd-networkd && for i in $(seq 60); do ip -4 address show client0 | grep -q 'inet 10.99.0.10' && exit 0; sleep 1; done; networkctl status client0 --no-pager; journalctl --no-pager -n 30 -u swarmboot; exit 1`)
		do(t, "swarmboot status && swarmboot machine list one")
		// The image has no program that speaks HTTP, but bash opens connections.
		do(t, `bash -c 'exec 3<>/dev/tcp/10.99.0.1/80 && printf "GET /initramfs HTTP/1.0\r\n\r\n" >&3 && head -1 <&3' | grep HTTP/1`)
	})
	promise(t, "an admin adopts a machine over the API, and reads who did", func(t *testing.T) {
		do(t, `export SWARMBOOT_SERVER=http://127.0.0.1:8470 SWARMBOOT_TOKEN=$(swarmboot token new anna --scope write) && swarmboot machine list one && swarmboot machine adopt 02:00:00:00:00:02 --name two || { journalctl --no-pager -n 30 -u swarmboot; exit 1; }`)
		do(t, "for i in $(seq 30); do swarmboot machine list two && exit 0; sleep 1; done; swarmboot status; exit 1")
		if got := do(t, "swarmboot audit -o json"); !strings.Contains(got, `"msg":"machine listed","admin":"anna"`) {
			t.Errorf("audit tells %s", got)
		}
	})
	promise(t, "a reload is taken up, and a killed server comes back", func(t *testing.T) {
		do(t, "sed -i 's/name: two/name: three/' /etc/swarmboot/swarmboot.yaml && systemctl reload swarmboot && for i in $(seq 30); do swarmboot machine list three && exit 0; sleep 1; done; exit 1")
		do(t, "kill -9 $(pidof swarmboot) && for i in $(seq 60); do sleep 1; swarmboot machine list three && exit 0; done; systemctl status --no-pager swarmboot; exit 1")
	})
	promise(t, "a machine boots from it", func(t *testing.T) {
		rack.server.wait(t, want.MAC, stage.Seeding) // and needs the first server no more
		if _, err := rack.server.stop(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		const mac = "52:54:00:77:06:02"
		do(t, `set -- $(ip -o -4 address show to 10.77.0.0/24) && printf '%s\n' 'server: {swarm: 6882}' 'unknown: deny' 'networks:' "  lab: {interface: $2, address: $4, pool: 10.77.0.210-10.77.0.219}" \
			'machines:' '  - {mac: "`+mac+`", name: second, image: lab@1, kernel_args: console=ttyS0 loglevel=4}' >/etc/swarmboot/swarmboot.yaml &&
			swarmboot check /etc/swarmboot/swarmboot.yaml && systemctl restart swarmboot`)
		second := rack.powerOn(vm.MachineConfig{Name: "second", MAC: mac, Firmware: vm.UEFI})
		login(t, second)
		if got := run(t, second.Console, "hostname"); got != "second" {
			t.Errorf("it is %q; want second", got)
		}
	})
	promise(t, "it can be removed, and leaves what is the admin's", func(t *testing.T) {
		do(t, "dpkg --remove swarmboot && test -e /etc/swarmboot/swarmboot.yaml && test -e /var/lib/swarmboot/keys/swarmboot.key && ! pidof swarmboot")
	})
}
