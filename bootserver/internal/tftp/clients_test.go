package tftp

import (
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What firmware, shim and GRUB ask for, byte for byte, and the first packet of
// the answer. Shim looks for files that need not be there, and GRUB for lists of
// its modules.
func TestRequestsOfLoaders(t *testing.T) {
	address, _ := start(t, noise(3000))
	server := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
	for name, answers := range map[string][]string{
		"ovmf-2022.11-ipv6.size": {"\x00\x06tsize\x003000\x00blksize\x001228\x00", "\x00\x06blksize\x001228\x00tsize\x003000\x00"},
		"ovmf-2022.11-ipv6.file": {"\x00\x06blksize\x001228\x00"},
		"ovmf-2022.11.file":      {"\x00\x06blksize\x001468\x00"},
		"shim-16.1.file":         {"\x00\x06blksize\x00512\x00"},
		"grub-2.12.config":       {"\x00\x06tsize\x0017\x00blksize\x001024\x00", "\x00\x06blksize\x001024\x00tsize\x0017\x00"},
		"shim-16.1-ipv6.file":    {"\x00\x06blksize\x00512\x00"},
		"shim-16.1.revocations":  {"\x00\x05\x00\x01file not found\x00"},
		"grub-2.12.list":         {"\x00\x05\x00\x01file not found\x00"},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
		if err != nil {
			t.Fatal(err)
		}
		packet, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		client := newROM(t)
		got, from := client.exchange(string(packet), server)
		client.WriteToUDP([]byte("\x00\x05\x00\x00enough\x00"), from)
		found := false
		for _, want := range answers { // options come in any order
			found = found || strings.TrimRight(got, "\x00") == strings.TrimRight(want, "\x00")
		}
		if !found {
			t.Errorf("%s: answer %q; want %q", name, got, answers[0])
		}
	}
}
