package bootweb

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"swarmboot/images/catalogue"
)

// mateTimeout is how long iPXE waits for a machine from which nothing comes,
// before it asks the server.
const mateTimeout = 3 * time.Second

// ipxe is the language of iPXE.
type ipxe struct{}

// boot is the iPXE script that boots p. Whatever goes wrong is told on the
// console and to the server, and tried again after a pause: a machine that
// stops in silence needs someone to walk to it.
func (ipxe) boot(p Plan, base string, attempt int) string {
	image := p.Image
	// UEFI kernels look for each initrd by its name; BIOS takes them all.
	args := append([]string{"initrd=initramfs", "initrd=modules"}, p.KernelArgs...)

	if p.Local { // the firmware goes on with its disks
		return fmt.Sprintf("#!ipxe\necho Swarmboot: %s boots %s from its disk\nexit\n", plain(p.title()), image.Manifest.Ref())
	}
	var b strings.Builder
	b.WriteString("#!ipxe\n")
	if file := p.IPXE[p.platform]; file != "" {
		b.WriteString(takeOver(base+LoadersPath+file, p.IPXEVersion))
	}
	fmt.Fprintf(&b, "echo Swarmboot: %s boots %s\n", plain(p.title()), image.Manifest.Ref())
	b.WriteString("imgfree\n") // what an earlier attempt has left
	fetch := func(command, part, path string, args ...string) {
		fmt.Fprintf(&b, "set part %s\n", part)
		if p.Mate != "" {
			fmt.Fprintf(&b, "%s --timeout %d --name %s %s || ", command, mateTimeout.Milliseconds(), part, strings.Join(append([]string{p.Mate + path}, args...), " "))
		}
		fmt.Fprintf(&b, "%s --name %s %s || goto failed\n", command, part, strings.Join(append([]string{base + path}, args...), " "))
	}
	fetch("kernel", "kernel", partPath(image.Digest, catalogue.Kernel), args...)
	fetch("initrd", "initramfs", InitramfsPath+image.Manifest.Arch)
	fetch("initrd", "modules", partPath(image.Digest, catalogue.Modules))
	b.WriteString("set part start\n")
	b.WriteString("boot || goto failed\n")
	b.WriteString(":failed\n")
	fmt.Fprintf(&b, "echo Swarmboot: stage kernel: ${part} failed with iPXE error ${errno}\n")
	fmt.Fprintf(&b, "imgfetch --name report %s%s?mac=%s&stage=kernel&part=${part}&error=${errno} ||\n", base, failedPath, p.MAC)
	b.WriteString("imgfree report ||\n")
	b.WriteString(again(p.MAC.String(), base, attempt))
	return b.String()
}

// userClass is what an iPXE of the admin's own calls itself (set user-class, in the
// script that is built into it) to be taken for ours, whatever its version.
const userClass = "swarmboot"

// takeOver has our iPXE run in place of a network card's own. It asks for the
// script again: the chain ends there since it is of our version, or of our user
// class. The x stands for something where a setting is empty. Where ours cannot be
// loaded the card's own goes on.
func takeOver(loader, version string) string {
	return fmt.Sprintf("iseq x${version} x%s || iseq x${user-class} x%s || chain %s || echo Swarmboot: goes on with iPXE ${version}\n", version, userClass, loader)
}

// makesWay tells whether the loader that asks is a card's own iPXE, so that the
// script that counts is still to come.
func (p Plan) makesWay() bool { return p.IPXE[p.platform] != "" && p.version != p.IPXEVersion }

func (ipxe) apology(mac, reason, base string, attempt int) string {
	return "#!ipxe\n" + "echo Swarmboot: stage kernel: " + plain(reason) + "\n" + again(mac, base, attempt)
}

// again ends a script: it waits and asks the server anew, which may have been
// told better in the meantime.
func again(mac, base string, attempt int) string {
	query := url.Values{"mac": {mac}, "attempt": {strconv.Itoa(attempt + 1)}}
	pause := int(backoff(attempt).Seconds())
	return fmt.Sprintf(`echo Swarmboot: trying again in %d s
sleep %d
:again
chain --replace --autofree %s%s?%s ||
echo Swarmboot: the boot server does not answer, trying again in %d s
sleep %d
goto again
`, pause, pause, base, ScriptPath, strings.ReplaceAll(query.Encode(), "%3A", ":"), int(unreachable.Seconds()), int(unreachable.Seconds()))
}

// backoff doubles from two seconds to half a minute.
func backoff(attempt int) time.Duration {
	return min(2*time.Second<<min(max(attempt, 0), 10), 30*time.Second)
}
