package dhcp

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Firmware of arm64 machines is recognised, and told its loader: AAVMF, and U-Boot,
// which asks as itself first and as UEFI then.
func TestARM64Firmware(t *testing.T) {
	for name, architecture := range map[string]uint16{
		"aavmf-2022.11.discover": 11, "aavmf-2022.11.request": 11,
		"u-boot-2023.01.discover": 22, "u-boot-2023.01.request": 22,
		"u-boot-2023.01-efi.discover": 11, "u-boot-2023.01-efi.request": 11,
	} {
		kind := dhcpv4.MessageTypeAck
		if strings.HasSuffix(name, ".discover") {
			kind = dhcpv4.MessageTypeOffer
		}
		req, c, err := parse(readHex(t, name+".hex"))
		if err != nil || c.Program != Firmware || !slices.Equal(c.Architectures, []uint16{architecture}) || c.HTTP || c.Begins != (kind == dhcpv4.MessageTypeOffer) {
			t.Errorf("parse(%s) = %+v, %v; want firmware of architecture %d that boots by PXE", name, c, err, architecture)
			continue
		}
		reply, err := answer(req, c, kind, lab, netip.MustParseAddr("10.77.0.100"), Boot{Name: "m1", File: "shimaa64.efi"})
		if err != nil {
			t.Fatal(err)
		}
		got, golden := reply.Summary(), filepath.Join("testdata", name+".answer.txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || got != string(want) {
			t.Errorf("answer to %s =\n%s\nwant\n%s%v", name, got, want, err)
		}
	}
}
