// Package probe finds out what a machine is made of, from what the kernel shows
// in /sys and /proc (Machine) and from what the switch says (Neighbour).
//
// init is its only caller, on machines that nobody has listed yet.
package probe

import (
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"

	"swarmboot/initramfs/inventory"
)

// Machine looks around in the root file system; what is not there is left out.
// The result says nothing yet of which card the machine boots from.
func Machine(root fs.FS) inventory.Inventory {
	dmi := func(name string) string { return text(root, "sys/class/dmi/id/"+name) }
	i := inventory.Inventory{Vendor: dmi("sys_vendor"), Product: dmi("product_name"), Serial: dmi("product_serial"), Arch: runtime.GOARCH}
	i.CPU, i.CPUs = processors(raw(root, "proc/cpuinfo"))
	i.Memory = memory(raw(root, "proc/meminfo"))
	for _, name := range names(root, "sys/class/net") {
		dir := "sys/class/net/" + name
		if _, err := fs.Stat(root, dir+"/device"); err != nil {
			continue // a bridge, a tunnel, lo: no card
		}
		driver, _ := fs.ReadLink(root, dir+"/device/driver")
		i.Cards = append(i.Cards, inventory.Card{
			Name: name, MAC: text(root, dir+"/address"), Driver: strings.TrimPrefix(path.Base(driver), "."), Link: text(root, dir+"/carrier") == "1",
		})
	}
	for _, name := range names(root, "sys/class/block") {
		dir := "sys/class/block/" + name
		if _, err := fs.Stat(root, dir+"/device"); err != nil || text(root, dir+"/removable") == "1" {
			continue // a partition, a loop device; a drive without a medium of its own
		}
		const sector = 512 // whatever the disk's own is
		i.Disks = append(i.Disks, inventory.Disk{
			Name: name, Bytes: number(text(root, dir+"/size")) * sector, Model: text(root, dir+"/device/model"), Spins: text(root, dir+"/queue/rotational") == "1",
		})
	}
	return i
}

// processors reads /proc/cpuinfo: the model of the first, and how many there are.
func processors(cpuinfo string) (model string, n int) {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "processor":
			n++
		case "model name":
			model = inventory.Plain(value)
		}
	}
	return model, n
}

// memory reads /proc/meminfo.
func memory(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		if value, found := strings.CutPrefix(line, "MemTotal:"); found {
			return number(strings.TrimSuffix(strings.TrimSpace(value), " kB")) << 10
		}
	}
	return 0
}

func names(root fs.FS, dir string) (all []string) {
	entries, _ := fs.ReadDir(root, dir)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func raw(root fs.FS, name string) string {
	data, _ := fs.ReadFile(root, name)
	return string(data)
}

// text is a file of one line.
func text(root fs.FS, name string) string { return inventory.Plain(raw(root, name)) }

// number is 0 for what is none.
func number(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return max(n, 0)
}
