package handover

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"swarmboot/initramfs/bootargs"
)

// identityFiles are those that make a machine itself. The admin's own come last
// and win.
func identityFiles(root *os.Root, i bootargs.Identity) []bootargs.File {
	var all []bootargs.File
	if i.MachineID != "" {
		all = append(all, bootargs.File{Path: "/etc/machine-id", Mode: 0o444, Content: []byte(i.MachineID + "\n")})
	}
	if i.HostKey != "" {
		const key = "/etc/ssh/ssh_host_ed25519_key"
		all = append(all,
			bootargs.File{Path: key, Mode: 0o600, Content: []byte(i.HostKey)},
			text(key+".pub", i.HostKeyPublic+"\n"))
	}
	const name = "root/.ssh/authorized_keys"
	own, _ := root.ReadFile(name) // the image may have none
	if len(i.AuthorizedKeys) > 0 || strings.Contains(string(own), given) {
		all = append(all, bootargs.File{Path: "/" + name, Mode: 0o600, Content: []byte(authorize(string(own), i.AuthorizedKeys))})
	}
	if i.DHCP {
		exists := func(name string) bool { _, err := root.Lstat(name); return err == nil }
		all = append(all, networkFiles(i.Machine, exists)...)
	}
	return append(all, i.Files...)
}

// given stands above each key that an authorized_keys file has from the settings.
// A machine that keeps what it writes meets them again in its next boot, when the
// settings may have others.
const given = "# from the settings of Swarmboot, at each boot:"

// authorize puts keys into the text of an authorized_keys file, in place of those
// that an earlier boot has put there.
func authorize(own string, keys []string) string {
	var lines []string
	ours := false
	for line := range strings.Lines(own) {
		line = strings.TrimSuffix(line, "\n")
		if !ours && line != given {
			lines = append(lines, line)
		}
		ours = line == given
	}
	for _, key := range keys {
		if !slices.Contains(lines, key) {
			lines = append(lines, given, key)
		}
	}
	return strings.Join(append(lines, ""), "\n")
}

// networkFiles have the network service that the image has keep the booting card
// by DHCP, without letting go of the address that the card has: the root may
// still be arriving over it.
func networkFiles(mac string, exists func(name string) bool) []bootargs.File {
	const networkd = "usr/lib/systemd/systemd-networkd"
	switch {
	case exists("usr/sbin/netplan") && exists(networkd):
		return []bootargs.File{{Path: "/etc/netplan/90-swarmboot.yaml", Mode: 0o600, Content: fmt.Appendf(nil, `network:
  version: 2
  ethernets:
    swarmboot:
      match: {macaddress: "%s"}
      dhcp4: true
      critical: true
`, mac)}}
	case exists("sbin/ifup") || exists("usr/sbin/ifup"):
		return []bootargs.File{text("/etc/network/interfaces.d/swarmboot", fmt.Sprintf(`auto mac/%s=swarmboot
iface swarmboot inet dhcp
`, mac))}
	case exists(networkd):
		return []bootargs.File{
			text("/etc/systemd/network/05-swarmboot.network", fmt.Sprintf(`[Match]
MACAddress=%s

[Network]
DHCP=ipv4
KeepConfiguration=yes
`, mac)),
			// Debian has it installed and does not start it; netplan sees to that itself.
			text("/run/systemd/system/multi-user.target.d/swarmboot-network.conf", "[Unit]\nWants=systemd-networkd.service\n"),
		}
	}
	return nil
}
