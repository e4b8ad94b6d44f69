package loaders

import "fmt"

// A Platform is a kind of firmware that a loader is made for.
type Platform string

// Platforms that have loaders.
const (
	BIOS  Platform = "BIOS"
	X64   Platform = "UEFI x86-64"
	ARM64 Platform = "UEFI arm64"
)

// Arch is the platform's architecture as Go and Debian call it.
func (p Platform) Arch() string {
	switch p {
	case BIOS, X64:
		return "amd64"
	case ARM64:
		return "arm64"
	}
	return ""
}

// A Policy says which of a platform's loaders a machine gets.
type Policy string

// Policies. Firmware does not say whether Secure Boot is on, so the default is
// the chain that starts either way.
const (
	GRUB       Policy = "grub"        // shim, then signed GRUB; the default
	SecureBoot Policy = "secure-boot" // the same, and only kernels that it starts under Secure Boot
	SNPOnly    Policy = "snponly"     // iPXE that drives the card through the firmware
	IPXE       Policy = "ipxe"        // iPXE with its own drivers
)

// Policies are all, for messages.
var Policies = []Policy{GRUB, SecureBoot, SNPOnly, IPXE}

// table says what each platform gets under each policy. BIOS knows no Secure
// Boot and no GRUB of ours; Debian makes no snponly for arm64.
var table = map[Platform]map[Policy]string{
	BIOS:  {GRUB: undionly, SecureBoot: undionly, SNPOnly: undionly, IPXE: ipxePXE},
	X64:   {GRUB: shimX64, SecureBoot: shimX64, SNPOnly: snponly, IPXE: ipxeX64},
	ARM64: {GRUB: shimARM64, SecureBoot: shimARM64, SNPOnly: ipxeARM64, IPXE: ipxeARM64},
}

// IPXEVersion is what the pinned iPXEs call themselves.
const IPXEVersion = "1.21.1+git20250501.dad20602+dfsg-1"

// TakesOver names the loaders that run in place of a network card's own iPXE on
// machines with that architecture, by what iPXE calls the platform. There are some
// only under policies that name an iPXE: under the others any will do.
func TakesOver(policy Policy, arch string) map[string]string {
	if policy != SNPOnly && policy != IPXE {
		return nil
	}
	files := map[string]string{}
	for platform, of := range table {
		switch {
		case platform.Arch() != arch:
		case platform == BIOS:
			files["pcbios"] = of[policy]
		default:
			files["efi"] = of[policy]
		}
	}
	return files
}

// A system is what one number of DHCP option 93 (in DHCPv6: 61) stands for.
type system struct {
	name     string
	platform Platform // empty: there is no loader
}

// systems is IANA's registry of processor architecture types. RFC 4578 and the
// registry disagree whether 7 or 9 is x86-64; firmware sends both and means it.
var systems = map[uint16]system{
	0:  {"BIOS", BIOS},
	1:  {"NEC PC98", ""},
	2:  {"UEFI Itanium", ""},
	6:  {"UEFI x86", ""},
	7:  {"UEFI x86-64", X64},
	8:  {"UEFI Xscale", ""},
	9:  {"UEFI byte code", X64},
	10: {"UEFI arm", ""},
	11: {"UEFI arm64", ARM64},
	15: {"UEFI x86 HTTP", ""},
	16: {"UEFI x86-64 HTTP", X64},
	17: {"UEFI byte code HTTP", X64},
	18: {"UEFI arm HTTP", ""},
	19: {"UEFI arm64 HTTP", ARM64},
	20: {"BIOS HTTP", BIOS},
	21: {"U-Boot arm", ""},
	22: {"U-Boot arm64", ""},
	23: {"U-Boot arm HTTP", ""},
	24: {"U-Boot arm64 HTTP", ""},
	25: {"UEFI RISC-V 32", ""},
	26: {"UEFI RISC-V 32 HTTP", ""},
	27: {"UEFI RISC-V 64", ""},
	28: {"UEFI RISC-V 64 HTTP", ""},
	29: {"UEFI RISC-V 128", ""},
	30: {"UEFI RISC-V 128 HTTP", ""},
	31: {"s390 basic", ""},
	32: {"s390 extended", ""},
	41: {"Raspberry Pi", ""},
}

// Choose picks the loader for a machine that names its architectures by the
// numbers of option 93; the first one with a loader counts. Without any it is a
// BIOS older than RFC 4578. The empty policy is GRUB. The file is empty if there
// is no loader for the machine; its platform is then good for messages only.
//
// Over PXE the machine wants the file's name, over HTTP its URL: the numbers tell
// the two apart, but whoever asks knows better from the class of the request.
func Choose(architectures []uint16, policy Policy) (file string, platform Platform) {
	if policy == "" {
		policy = GRUB
	}
	if len(architectures) == 0 {
		architectures = []uint16{0}
	}
	for _, number := range architectures {
		if s := systems[number]; s.platform != "" {
			return table[s.platform][policy], s.platform
		}
	}
	first := architectures[0]
	name := systems[first].name
	if name == "" {
		name = "unknown"
	}
	return "", Platform(fmt.Sprintf("%s (architecture %d)", name, first))
}

// A Place is where a loader lies on a disk that a machine starts from.
type Place struct{ Name, Path string }

// OnDisk are the loaders of a disk, where UEFI looks for them on any: shim, and
// what it starts.
func OnDisk(arch string) []Place {
	if arch == "arm64" {
		return []Place{{shimARM64, "/EFI/BOOT/BOOTAA64.EFI"}, {"grubaa64.efi", "/EFI/BOOT/grubaa64.efi"}, {"mmaa64.efi", "/EFI/BOOT/mmaa64.efi"}}
	}
	return []Place{{shimX64, "/EFI/BOOT/BOOTX64.EFI"}, {"grubx64.efi", "/EFI/BOOT/grubx64.efi"}, {"mmx64.efi", "/EFI/BOOT/mmx64.efi"}}
}

// OnBIOSDisk is the loader of a disk that BIOS starts from; empty if there is no
// BIOS on the architecture.
func OnBIOSDisk(arch string) string {
	if arch == BIOS.Arch() {
		return grubBIOS
	}
	return ""
}
