package dhcp

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// UEFI HTTP boot takes an answer only with its own class in it, and the bytes of
// option 67 for the URL as they stand: no NUL, and nothing for PXE beside.
func TestHTTPBootGetsAURL(t *testing.T) {
	const url = "http://10.77.0.1/loaders/shimx64.efi"
	for _, name := range []string{"ovmf-2022.11-http.discover", "ovmf-2022.11-http.request"} {
		req, client, err := parse(readHex(t, name+".hex"))
		if err != nil {
			t.Fatal(err)
		}
		if !client.HTTP || client.Program != Firmware || len(client.Architectures) != 1 || client.Architectures[0] != 16 {
			t.Errorf("%s: %+v; want firmware of architecture 16 that boots by HTTP", name, client)
		}
		kind := dhcpv4.MessageTypeOffer
		if req.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		reply, err := answer(req, client, kind, lab, netip.MustParseAddr("10.77.0.100"), Boot{Name: "m1", File: url})
		if err != nil {
			t.Fatal(err)
		}
		again, err := dhcpv4.FromBytes(reply.ToBytes())
		if err != nil {
			t.Fatal(err)
		}
		if class := string(again.Options[60]); class != "HTTPClient" {
			t.Errorf("%s: class %q; want HTTPClient", name, class)
		}
		if file := string(again.Options[67]); file != url || again.BootFileName != url {
			t.Errorf("%s: boot file %q, in the header %q; want %s", name, file, again.BootFileName, url)
		}
		if again.Options.Has(dhcpv4.OptionVendorSpecificInformation) {
			t.Errorf("%s: option 43 in an answer to an HTTP client", name)
		}
		got := wrap(hex.EncodeToString(reply.ToBytes()))
		golden := filepath.Join("testdata", name+".answer.hex")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || got != string(want) {
			t.Errorf("answer to %s =\n%swant\n%s%v", name, got, want, err)
		}
	}
}
