package dhcp

import (
	"slices"
	"testing"
)

func TestARM64FirmwareIsRecognised(t *testing.T) {
	for name, begins := range map[string]bool{"aavmf-2022.11.discover": true, "aavmf-2022.11.request": false} {
		_, c, err := parse(readHex(t, name+".hex"))
		if err != nil || c.Program != Firmware || !slices.Equal(c.Architectures, []uint16{11}) || c.HTTP || c.Begins != begins {
			t.Errorf("parse(%s) = %+v, %v; want firmware of architecture 11 that boots by PXE", name, c, err)
		}
	}
}
