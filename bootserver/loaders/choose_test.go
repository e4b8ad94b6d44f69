package loaders

import (
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		story         string
		architectures []uint16
		policy        Policy
		file          string
		platform      Platform
	}{
		{"no option 93", nil, "", "undionly.kpxe", BIOS},
		{"BIOS", []uint16{0}, "", "undionly.kpxe", BIOS},
		{"BIOS knows no Secure Boot", []uint16{0}, SecureBoot, "undionly.kpxe", BIOS},
		{"BIOS whose card's driver fails", []uint16{0}, IPXE, "ipxe.pxe", BIOS},
		{"x86-64", []uint16{7}, "", "shimx64.efi", X64},
		{"x86-64, as the RFC has it", []uint16{9}, "", "shimx64.efi", X64},
		{"x86-64, Secure Boot", []uint16{7}, SecureBoot, "shimx64.efi", X64},
		{"x86-64, iPXE", []uint16{7}, SNPOnly, "snponly.efi", X64},
		{"x86-64, iPXE with its own drivers", []uint16{7}, IPXE, "ipxe-amd64.efi", X64},
		{"x86-64 by HTTP", []uint16{16}, GRUB, "shimx64.efi", X64},
		{"arm64", []uint16{11}, "", "shimaa64.efi", ARM64},
		{"arm64, iPXE", []uint16{11}, SNPOnly, "ipxe-arm64.efi", ARM64},
		{"arm64 by HTTP", []uint16{19}, "", "shimaa64.efi", ARM64},
		{"two, the first without a loader", []uint16{6, 7}, "", "shimx64.efi", X64},
		{"32-bit UEFI", []uint16{6}, "", "", "UEFI x86 (architecture 6)"},
		{"unheard of", []uint16{300}, "", "", "unknown (architecture 300)"},
	} {
		if file, platform := Choose(c.architectures, c.policy); file != c.file || platform != c.platform {
			t.Errorf("%s: Choose(%v, %q) = %q, %q; want %q, %q", c.story, c.architectures, c.policy, file, platform, c.file, c.platform)
		}
	}
}

// Every number of the registry, under every policy, gets a loader that there is,
// or none.
func TestTableIsWhole(t *testing.T) {
	for number, s := range systems {
		for _, policy := range append(Policies, "") {
			file, platform := Choose([]uint16{number}, policy)
			known := slices.ContainsFunc(Files, func(f File) bool { return f.Name == file })
			if known != (s.platform != "") || platform == "" || known && platform.Arch() == "" {
				t.Errorf("architecture %d under %q: %q for %q", number, policy, file, platform)
			}
		}
	}
}

func TestTakesOver(t *testing.T) {
	for _, c := range []struct {
		policy       Policy
		arch         string
		pcbios, uefi string
	}{
		{"", "amd64", "", ""},
		{GRUB, "amd64", "", ""},
		{SecureBoot, "amd64", "", ""},
		{SNPOnly, "amd64", "undionly.kpxe", "snponly.efi"},
		{IPXE, "amd64", "ipxe.pxe", "ipxe-amd64.efi"},
		{IPXE, "arm64", "", "ipxe-arm64.efi"},
	} {
		if got := TakesOver(c.policy, c.arch); got["pcbios"] != c.pcbios || got["efi"] != c.uefi {
			t.Errorf("TakesOver(%q, %s) = %v; want %q and %q", c.policy, c.arch, got, c.pcbios, c.uefi)
		}
	}
}
