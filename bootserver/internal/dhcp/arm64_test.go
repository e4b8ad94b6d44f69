package dhcp

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Firmware of arm64 machines (AAVMF) is recognised, and told its loader.
func TestARM64Firmware(t *testing.T) {
	for name, kind := range map[string]dhcpv4.MessageType{"aavmf-2022.11.discover": dhcpv4.MessageTypeOffer, "aavmf-2022.11.request": dhcpv4.MessageTypeAck} {
		req, c, err := parse(readHex(t, name+".hex"))
		if err != nil || c.Program != Firmware || !slices.Equal(c.Architectures, []uint16{11}) || c.HTTP || c.Begins != (kind == dhcpv4.MessageTypeOffer) {
			t.Errorf("parse(%s) = %+v, %v; want firmware of architecture 11 that boots by PXE", name, c, err)
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
