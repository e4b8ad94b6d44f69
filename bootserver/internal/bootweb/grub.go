package bootweb

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"swarmboot/images/catalogue"
	"swarmboot/initramfs/bootargs"
)

// GRUBConfigPath is what GRUB asks for first, at the server that it came from
// and by the same protocol.
const GRUBConfigPath = "/grub/grub.cfg"

// Where the script of a machine lies, for a GRUB that has its own network stack
// and for one that was itself loaded by HTTP.
const (
	grubScriptPath     = "/boot.grub"
	grubHTTPScriptPath = "/http/boot.grub"
)

// GRUBConfig is the same for all machines: it asks the server at base for the
// script of the machine that runs it, again and again should that come back.
func GRUBConfig(base string) string { return grub{}.config(base) }

func (g grub) config(base string) string {
	path := grubScriptPath
	if g.byHTTP {
		path = grubHTTPScriptPath
	}
	return fmt.Sprintf(`smbios --type 1 --get-uuid 8 --set uuid
while true; do
	source "%s%s?mac=$net_default_mac&uuid=$uuid&platform=$grub_cpu-$grub_platform&version=GRUB"
	echo 'Swarmboot: trying again in %d s'
	sleep %d
done
`, g.device(base), path, int(unreachable.Seconds()), int(unreachable.Seconds()))
}

// grub is the language of GRUB: a script that ends has failed.
type grub struct {
	byHTTP bool // the firmware has loaded GRUB by HTTP, and fetches what GRUB asks for
}

// device is a server as GRUB names it: (http,10.77.0.1) or, with a port that is not
// 80, (http,10.77.0.1:8080), as 2.12 has it. For the firmware GRUB itself puts an
// IPv6 address into brackets, and there is no boot with two.
func (g grub) device(base string) string {
	name := strings.TrimPrefix(base, "http://")
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); g.byHTTP && err == nil {
		name = addr.String()
	}
	return "(http," + name + ")"
}

func (g grub) boot(p Plan, base string, _ int) string {
	image, device := p.Image, g.device(base)
	report := url.Values{"mac": {p.MAC.String()}, "stage": {"kernel"}}.Encode()
	if p.Local {
		return fmt.Sprintf(`echo 'Swarmboot: %s boots %s from its disk'
if search --no-floppy --label %s --set=root; then
	configfile %s
fi
echo 'Swarmboot: stage kernel: the disk cannot be started'
source "%s%s?%s&part=disk"
`, plain(p.title()), image.Manifest.Ref(), bootargs.BootLabel, DiskScript, device, failedPath, report)
	}
	fetch := func(device string) (linux, initrd string) {
		part := func(part catalogue.Part) string { return device + partPath(image.Digest, part) }
		return part(catalogue.Kernel), device + InitramfsPath + image.Manifest.Arch + " " + part(catalogue.Modules)
	}
	linux, initrd := fetch(device)
	mate := ""
	if p.Mate != "" {
		linux, initrd := fetch(g.device(p.Mate))
		mate = fmt.Sprintf(grubMate, linux, strings.Join(quoted(p.KernelArgs), " "), initrd)
	}
	return fmt.Sprintf(`echo 'Swarmboot: %s boots %s'
%sset part=kernel
if linux %s %s; then
	set part=initramfs
	if initrd %s; then
		set part=start
		boot
	fi
fi
echo "Swarmboot: stage kernel: $part failed; GRUB tells why above"
source "%s%s?%s&part=$part"
`, plain(p.title()), image.Manifest.Ref(), mate,
		linux, strings.Join(quoted(p.KernelArgs), " "), initrd,
		device, failedPath, report)
}

// grubMate boots from another machine; where that fails, what follows is done.
const grubMate = `if linux %s %s; then
	if initrd %s; then
		boot
	fi
fi
echo 'Swarmboot: goes on with the boot server'
`

// quoted are kernel arguments as GRUB passes them on unchanged.
func quoted(args []string) []string {
	all := make([]string, len(args))
	for i, arg := range args {
		all[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return all
}

// Files of the boot partition of a machine that starts from its disk, by which the
// script there goes.
const (
	DiskScript    = "/grub/grub.cfg"
	DiskKernel    = "/swarmboot/kernel"
	DiskInitramfs = "/swarmboot/initramfs"
	DiskModules   = "/swarmboot/modules"
)

// GRUBFromDisk is what GRUB on the disk of a machine does.
func GRUBFromDisk(title string, args []string) string {
	return fmt.Sprintf(`search --no-floppy --label %s --set=root
echo 'Swarmboot: %s from its disk'
linux %s %s
initrd %s %s %s
boot
`, bootargs.BootLabel, plain(title), DiskKernel, strings.Join(quoted(args), " "), DiskInitramfs, DiskModules, bootargs.MachineSegment)
}

func (grub) apology(_, reason, _ string, _ int) string {
	return "echo 'Swarmboot: stage kernel: " + plain(reason) + "'\n"
}

// grubConfig is GRUBConfig for a GRUB that was itself loaded by HTTP.
func (s *web) grubConfig(w http.ResponseWriter, r *http.Request) {
	_, errAddr := netip.ParseAddr(strings.Trim(r.Host, "[]"))
	_, errPort := netip.ParseAddrPort(r.Host)
	if errAddr != nil && errPort != nil {
		http.Error(w, "want this server by its address", http.StatusBadRequest)
		return
	}
	sendText(w, grub{byHTTP: true}.config("http://"+r.Host))
}
