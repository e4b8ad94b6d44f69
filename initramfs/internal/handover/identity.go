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
	if len(i.AuthorizedKeys) > 0 {
		const name = "root/.ssh/authorized_keys"
		own, _ := root.ReadFile(name) // the image may have none
		all = append(all, bootargs.File{Path: "/" + name, Mode: 0o600, Content: []byte(authorize(string(own), i.AuthorizedKeys))})
	}
	if i.DHCP {
		exists := func(name string) bool { _, err := root.Lstat(name); return err == nil }
		all = append(all, networkFiles(i.Machine, exists)...)
	}
	return append(all, i.Files...)
}

// authorize adds keys to the text of an authorized_keys file.
func authorize(own string, keys []string) string {
	lines := strings.Split(strings.TrimRight(own, "\n"), "\n")
	for _, key := range keys {
		if !slices.Contains(lines, key) {
			lines = append(lines, key)
		}
	}
	return strings.TrimLeft(strings.Join(lines, "\n")+"\n", "\n")
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
		return []bootargs.File{text("/etc/systemd/network/05-swarmboot.network", fmt.Sprintf(`[Match]
MACAddress=%s

[Network]
DHCP=ipv4
KeepConfiguration=yes
`, mac))}
	}
	return nil
}
