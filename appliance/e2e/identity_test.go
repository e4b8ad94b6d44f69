package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swarmboot/appliance/internal/vm"
	"swarmboot/initramfs/stage"
)

const keyLine = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIGcbDa5Gj1FZPl+UcfA7nQZDF9l6q8c9+dB9G9uCZFh anna@example.org"

// TestIdentity boots a machine twice: it comes up as itself, and nobody else can
// have what makes it so.
func TestIdentity(t *testing.T) {
	needsImages(t)
	const secret = "the key to the vault"
	m := machine{Name: "itself", MAC: "52:54:00:77:06:01", Image: "lab@1", More: `
    network_setup: dhcp
    authorized_keys: [` + keyLine + `]
    files:
      - {path: /etc/motd, content: "This is {{.Name}}.\n", template: true}
      - {path: /etc/vault/key, content: ` + secret + `, mode: 0600}`}
	rack := newRackOf(t, labState(t), m)
	ids := map[string]string{}
	for _, boot := range []string{"first", "second"} {
		on := rack.powerOn(vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: map[string]vm.Firmware{"first": vm.BIOS, "second": vm.UEFI}[boot]})
		login(t, on)
		promise(t, "it is itself in its "+boot+" boot", func(t *testing.T) {
			for command, want := range map[string]string{
				"hostname":      m.Name,
				"cat /etc/motd": "This is " + m.Name + ".",
				"cat /etc/vault/key; stat -c %a /etc/vault/key":           secret + "600",
				"grep -c anna@example.org /root/.ssh/authorized_keys":     "1",
				"grep -c swarmboot-lab /root/.ssh/authorized_keys":        "1", // the image's own
				"systemctl is-active ssh":                                 "active",
				"systemctl list-units --state=failed --plain --no-legend": "",
				"ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key | cut -d ' ' -f 2 | grep -c -f - /etc/ssh/ssh_host_ed25519_key.pub": "1",
			} {
				if got := run(t, on.Console, command); got != want {
					t.Errorf("%s = %q; want %q", command, got, want)
				}
			}
			leasesItself(t, rack, m, on)
			for _, file := range []string{"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"} {
				got := run(t, on.Console, "cat "+file)
				if before, again := ids[file]; again && got != before {
					t.Errorf("%s is %q; in its first boot it was %q", file, got, before)
				}
				ids[file] = got
			}
		})
		promise(t, "its token is used up after its "+boot+" boot, and nobody gets another", func(t *testing.T) {
			found := regexp.MustCompile(`swarmboot\.token=(\S+)`).FindStringSubmatch(run(t, on.Console, "cat /proc/cmdline"))
			if found == nil {
				t.Fatal("the kernel's arguments have no token")
			}
			if before := ids["token"]; before == found[1] {
				t.Error("it is the token of the first boot")
			}
			ids["token"] = found[1]
			again := fmt.Sprintf(`exec 3<>/dev/tcp/10.77.0.1/80; printf 'POST /identity/%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' >&3; head -1 <&3`, m.MAC, len(found[1]), found[1])
			if got := run(t, on.Console, "bash -c '"+strings.ReplaceAll(again, "'", `'\''`)+"'"); !strings.Contains(got, " 410 ") {
				t.Errorf("the machine that shows it again is told %q; want 410", got)
			}
			// The machine itself is who could have one, if anybody.
			script := fmt.Sprintf(`exec 3<>/dev/tcp/10.77.0.1/80; printf 'GET /boot.ipxe?mac=%s HTTP/1.0\r\n\r\n' >&3; cat <&3`, m.MAC)
			if got := run(t, on.Console, "bash -c '"+strings.ReplaceAll(script, "'", `'\''`)+"' | tr -d '\\r' | grep -c swarmboot.token || true"); got != "0" {
				t.Errorf("a script after the boot has %s tokens", got)
			}
			log, err := os.ReadFile(rack.server.log)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{found[1], secret, "PRIVATE KEY"} {
				if strings.Contains(string(log), word) {
					t.Errorf("the server's log has %q", word)
				}
			}
		})
		if err := on.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

// leasesItself checks that the image's own network service keeps the address.
func leasesItself(t *testing.T, r *rack, m machine, on *vm.Machine) {
	t.Helper()
	const lease = "grep -hs ^ADDRESS= /run/systemd/netif/leases/*"
	want := "ADDRESS=" + r.server.machine(t, m.MAC).Address.String()
	if got := run(t, on.Console, "for i in $(seq 60); do "+lease+" && break; sleep 1; done"); got != want {
		t.Errorf("systemd-networkd has %q; want %s", got, want)
	}
}

// TestCloudInit boots an image with Debian's cloud-init in it.
func TestCloudInit(t *testing.T) {
	needsImages(t)
	folder := labState(t)
	write(t, filepath.Join(filepath.Dir(folder), "user-data"), `#cloud-config
ssh_authorized_keys: [`+keyLine+`]
write_files: [{path: /etc/by-cloud-init, content: hello}]
`)
	m := machine{Name: "cloudy", MAC: "52:54:00:77:06:02", Image: "cloud@1", More: "\n    user_data: user-data\n    network_setup: dhcp"}
	rack := newRackOf(t, folder, m)
	on := rack.powerOn(vm.MachineConfig{Name: m.Name, MAC: m.MAC, Firmware: vm.BIOS, Memory: 1536})
	login(t, on)
	promise(t, "cloud-init sets the host name and the key", func(t *testing.T) {
		run(t, on.Console, "cloud-init status --wait >/dev/null || true")
		said := run(t, on.Console, "cloud-init status --format json | tr -d '\\n'")
		var status struct{ Status, Detail, Datasource string }
		if err := json.Unmarshal([]byte(said), &status); err != nil || status.Status != "done" || !strings.Contains(status.Detail, "DataSourceNoCloudNet") {
			t.Errorf("cloud-init says %s (%v); want done, by NoCloud", said, err)
		}
		for command, want := range map[string]string{
			"hostname":                     m.Name,
			"cat /etc/by-cloud-init":       "hello",
			"cloud-init query instance_id": run(t, on.Console, "cat /etc/machine-id"),
			"grep -rl anna@example.org /root/.ssh /home/*/.ssh | sort | head -1": run(t, on.Console, "ls /home/debian/.ssh/authorized_keys"),
		} {
			if got := run(t, on.Console, command); got != want {
				t.Errorf("%s = %q; want %q", command, got, want)
			}
		}
	})
	promise(t, "netplan keeps the address", func(t *testing.T) { leasesItself(t, rack, m, on) })
	promise(t, "its data is for nobody once it is ready", func(t *testing.T) {
		rack.server.wait(t, m.MAC, stage.Ready)
		url := run(t, on.Console, `tr ' ' '\n' </proc/cmdline | sed -n 's/^ds=nocloud-net;s=//p'`)
		if got := run(t, on.Console, "python3 -c 'import sys,urllib.request; urllib.request.urlopen(sys.argv[1])' "+url+"user-data 2>&1 | tail -1"); !strings.Contains(got, "404") {
			t.Errorf("%suser-data says %q; want 404", url, got)
		}
	})
}
