package dhcp6

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swarmboot/bootserver/internal/dhcp"
)

var update = flag.Bool("update", false, "write the golden answers anew")

// What firmware and iPXE are told, decoded. The packets are named after who has
// sent them.
func TestDecodedAnswers(t *testing.T) {
	captures, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(captures) < 5 {
		t.Fatalf("captures: %v, %v; want 5 at least", captures, err)
	}
	s := newServer(t)
	for _, capture := range captures {
		text, err := os.ReadFile(capture)
		if err != nil {
			t.Fatal(err)
		}
		packet, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		_, client, _, err := read(packet, from(m1))
		if err != nil {
			t.Errorf("%s: %v", capture, err)
			continue
		}
		want := dhcp.Firmware
		switch {
		case strings.Contains(capture, "release"):
			want = dhcp.System // it says no more than it must
		case strings.Contains(capture, "ipxe"):
			want = dhcp.IPXE
		}
		if client.Program != want {
			t.Errorf("%s is taken for %s; want %s", capture, client.Program, want)
		}
		reply := s.handle(t.Context(), packet, netip.AddrPortFrom(from(m1), 546), "eth1")
		if reply.packet == nil {
			t.Errorf("%s was not answered", capture)
			continue
		}
		golden := strings.TrimSuffix(capture, ".hex") + ".answer.txt"
		got := fmt.Sprintf("from %+v\n%s\n", client, reply.packet.Summary())
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || got != string(want) {
			t.Errorf("answer to %s =\n%s\nwant\n%s%v", capture, got, want, err)
		}
	}
}
