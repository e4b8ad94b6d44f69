package dhcp

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var update = flag.Bool("update", false, "write the golden answers anew")

var lab = Network{
	Name: "lab", Interface: "lab0", Mode: Full,
	Server: netip.MustParseAddr("10.77.0.1"),
	Subnet: netip.MustParsePrefix("10.77.0.0/24"),
	Router: netip.MustParseAddr("10.77.0.254"),
	DNS:    []netip.Addr{netip.MustParseAddr("10.77.0.53")},
	Lease:  24 * time.Hour,
}

// readHex reads a packet captured from the firmware that the file is named after.
func readHex(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return data
}

func TestFirmwareIsRecognised(t *testing.T) {
	for name, want := range map[string]Client{
		"qemu-ipxe-rom-1.0.0.discover":  {MAC: MAC{0x52, 0x54, 0, 0x77, 0, 1}, Program: IPXE, Architectures: []uint16{0}, Begins: true},
		"qemu-ipxe-rom-1.0.0.request":   {MAC: MAC{0x52, 0x54, 0, 0x77, 0, 1}, Program: IPXE, Architectures: []uint16{0}},
		"ipxe-1.21.1-undionly.discover": {MAC: MAC{0x52, 0x54, 0, 0x77, 0, 1}, Program: IPXE, Architectures: []uint16{0}, Begins: true},
		"ovmf-2022.11.discover":         {MAC: MAC{0x52, 0x54, 0, 0x77, 0, 2}, Program: Firmware, Architectures: []uint16{7}, Begins: true},
		"ovmf-2022.11.request":          {MAC: MAC{0x52, 0x54, 0, 0x77, 0, 2}, Program: Firmware, Architectures: []uint16{7}},
		"ipxe-1.21.1-snponly.discover":  {MAC: MAC{0x52, 0x54, 0, 0x77, 0, 2}, Program: IPXE, Architectures: []uint16{7}, Begins: true},
	} {
		want.UUID = "00000000-0000-0000-0000-000000000000"
		_, got, err := parse(readHex(t, name+".hex"))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parse(%s) = %+v, %v; want %+v", name, got, err, want)
		}
	}
}

// The answers to captured packets, byte by byte: what firmware makes of them was
// seen, so a change here wants machines to be tried.
func TestGoldenAnswers(t *testing.T) {
	for name, file := range map[string]string{
		"qemu-ipxe-rom-1.0.0.discover":  "http://10.77.0.1/boot.ipxe?mac=52:54:00:77:00:01&uuid=${uuid}&platform=${platform}&version=${version}",
		"qemu-ipxe-rom-1.0.0.request":   "http://10.77.0.1/boot.ipxe?mac=52:54:00:77:00:01&uuid=${uuid}&platform=${platform}&version=${version}",
		"ipxe-1.21.1-undionly.discover": "http://10.77.0.1/boot.ipxe?mac=52:54:00:77:00:01&uuid=${uuid}&platform=${platform}&version=${version}",
		"ipxe-1.21.1-undionly.request":  "http://10.77.0.1/boot.ipxe?mac=52:54:00:77:05:02&uuid=${uuid}&platform=${platform}&version=${version}",
		"ovmf-2022.11.discover":         "snponly.efi",
		"ovmf-2022.11.request":          "snponly.efi",
		"ipxe-1.21.1-snponly.discover":  "http://10.77.0.1/boot.ipxe?mac=52:54:00:77:00:02&uuid=${uuid}&platform=${platform}&version=${version}",
		"ipxe-1.21.1-snponly.request":   "http://10.77.0.1/boot.ipxe?mac=52:54:00:77:00:02&uuid=${uuid}&platform=${platform}&version=${version}",
	} {
		req, client, err := parse(readHex(t, name+".hex"))
		if err != nil {
			t.Fatal(err)
		}
		kind := dhcpv4.MessageTypeOffer
		if req.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		reply, err := answer(req, client, kind, lab, netip.MustParseAddr("10.77.0.100"), Boot{Name: "m1", File: file})
		if err != nil {
			t.Fatal(err)
		}
		got := wrap(hex.EncodeToString(reply.ToBytes()))
		golden := filepath.Join("testdata", name+".answer.hex")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("answer to %s =\n%swant\n%s%s", name, got, want, reply.Summary())
		}
	}
}

// What is said to the DHCP clients of operating systems, to our own init and to
// relays, decoded.
func TestDecodedAnswers(t *testing.T) {
	captures, err := filepath.Glob("testdata/dh*.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"udhcpc", "swarmboot-init"} {
		more, _ := filepath.Glob("testdata/" + name + "*.hex")
		captures = append(captures, more...)
	}
	if len(captures) < 10 {
		t.Fatalf("captures: %v; want at least 10", captures)
	}
	n := lab
	n.Domain, n.NTP, n.Routes = "rack.example", []netip.Addr{netip.MustParseAddr("10.77.0.54")}, []Route{{netip.MustParsePrefix("10.99.0.0/16"), netip.MustParseAddr("10.77.0.253")}}
	for _, capture := range captures {
		req, client, err := parse(readHex(t, filepath.Base(capture)))
		if err != nil {
			t.Errorf("%s: %v", capture, err)
			continue
		}
		if client.Program != System {
			t.Errorf("%s is taken for %s; want %s", capture, client.Program, System)
		}
		kind := dhcpv4.MessageTypeOffer
		if req.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		reply, err := answer(req, client, kind, n, netip.MustParseAddr("10.77.0.100"), Boot{Name: "m1"})
		if err != nil {
			t.Errorf("%s: %v", capture, err)
			continue
		}
		got := fmt.Sprintf("to %s\n%s", routeOf(req, reply, arrival{port: serverPort}).to, reply.Summary())
		golden := strings.TrimSuffix(capture, ".hex") + ".answer.txt"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("answer to %s =\n%s\nwant\n%s", capture, got, want)
		}
	}
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(64, len(s))
		b.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	return b.String()
}

func TestAnswerToPXETellsEverythingTwice(t *testing.T) {
	req, client, err := parse(readHex(t, "ovmf-2022.11.discover.hex"))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := answer(req, client, dhcpv4.MessageTypeOffer, lab, netip.MustParseAddr("10.77.0.100"), Boot{File: "snponly.efi"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := dhcpv4.FromBytes(reply.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	if !again.ServerIPAddr.Equal(net.IPv4(10, 77, 0, 1)) || again.ServerHostName != "10.77.0.1" || again.BootFileName != "snponly.efi" {
		t.Errorf("header: siaddr %s, sname %q, file %q", again.ServerIPAddr, again.ServerHostName, again.BootFileName)
	}
	for code, want := range map[uint8]string{54: "\x0a\x4d\x00\x01", 60: "PXEClient", 43: "\x06\x01\x08\xff", 66: "10.77.0.1", 67: "snponly.efi\x00", 97: string(req.Options[97])} {
		if got := string(again.Options[code]); got != want {
			t.Errorf("option %d = %q; want %q", code, got, want)
		}
	}
}

func TestArchitectures(t *testing.T) {
	for option, want := range map[string][]uint16{
		"":                     nil,
		"\x00":                 nil, // cut off
		"\x00\x07":             {7},
		"\x00\x06\x00\x07\x00": {6, 7},
		"\x01\x2c":             {300},
	} {
		if got := architectures([]byte(option)); !slices.Equal(got, want) {
			t.Errorf("architectures(%q) = %v; want %v", option, got, want)
		}
	}
}

func TestWhoIsIPXE(t *testing.T) {
	for _, c := range []struct {
		story       string
		class, opts string
		want        bool
	}{
		{"plain text", "iPXE", "", true},
		{"as in RFC 3004", "\x04iPXE", "", true},
		{"another class", "gPXE", "", false},
		{"options say HTTP", "", "\x13\x01\x01", true},
		{"a build without HTTP gets our loader", "iPXE", "\x18\x01\x01", false},
		{"broken options", "iPXE", "\x13\x20", true},
		{"nothing", "", "", false},
	} {
		req, err := dhcpv4.New()
		if err != nil {
			t.Fatal(err)
		}
		if c.class != "" {
			req.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte(c.class)))
		}
		if c.opts != "" {
			req.UpdateOption(dhcpv4.OptGeneric(etherboot, []byte(c.opts)))
		}
		if got := isIPXE(req); got != c.want {
			t.Errorf("%s: isIPXE = %v; want %v", c.story, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := readHex(t, "ovmf-2022.11.discover.hex")
	for story, spoil := range map[string]func(p []byte) []byte{
		"a reply":               func(p []byte) []byte { p[0] = 2; return p },
		"op code 77":            func(p []byte) []byte { p[0] = 77; return p },
		"no Ethernet":           func(p []byte) []byte { p[1] = 32; return p },
		"no hardware address":   func(p []byte) []byte { p[2] = 0; return p },
		"multicast address":     func(p []byte) []byte { p[28] |= 1; return p },
		"zero address":          func(p []byte) []byte { clear(p[28:34]); return p },
		"no magic cookie":       func(p []byte) []byte { p[236] = 0; return p },
		"BOOTP without options": func(p []byte) []byte { return append(p[:240], 255) },
		"cut in the header":     func(p []byte) []byte { return p[:100] },
	} {
		if _, client, err := parse(spoil(append([]byte(nil), good...))); err == nil {
			t.Errorf("parse of %s = %+v; want an error", story, client)
		}
	}
	if _, _, err := parse(good[:len(good)-1]); err != nil {
		t.Errorf("parse without End option: %v; want it accepted", err)
	}
}

func TestAskedFollowsRFC2131(t *testing.T) {
	server, other, address := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("10.77.0.9")
	for _, c := range []struct {
		story                      string
		chosen, requested, current netip.Addr
		want                       netip.Addr
	}{
		{"selects us", server, address, netip.Addr{}, address},
		{"selects another", other, address, netip.Addr{}, netip.Addr{}},
		{"reboots", netip.Addr{}, address, netip.Addr{}, address},
		{"renews", netip.Addr{}, netip.Addr{}, address, address},
		{"wants nothing", netip.Addr{}, netip.Addr{}, netip.Addr{}, netip.Addr{}},
	} {
		req, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest))
		if err != nil {
			t.Fatal(err)
		}
		if c.chosen.IsValid() {
			req.UpdateOption(dhcpv4.OptServerIdentifier(ip(c.chosen)))
		}
		if c.requested.IsValid() {
			req.UpdateOption(dhcpv4.OptRequestedIPAddress(ip(c.requested)))
		}
		if c.current.IsValid() {
			req.ClientIPAddr = ip(c.current)
		}
		if got := asked(req, server); got != c.want {
			t.Errorf("%s: asked = %v; want %v", c.story, got, c.want)
		}
	}
}

func TestAnswerFitsTheMachine(t *testing.T) {
	long := lab
	for range 60 {
		long.DNS = append(long.DNS, netip.MustParseAddr("10.77.0.53"))
	}
	file := "http://10.77.0.1/boot.ipxe?mac=52:54:00:77:00:01"
	req, client, err := parse(readHex(t, "ipxe-1.21.1-undionly.discover.hex"))
	if err != nil {
		t.Fatal(err)
	}
	for size, limit := range map[uint16]int{0: 548, 100: 548, 576: 548, 700: 672, 65280: 1472} {
		req.UpdateOption(dhcpv4.OptMaxMessageSize(size))
		if size == 0 {
			req.Options.Del(dhcpv4.OptionMaximumDHCPMessageSize)
		}
		reply, err := answer(req, client, dhcpv4.MessageTypeAck, long, netip.MustParseAddr("10.77.0.100"), Boot{Name: "m1", File: file})
		if err != nil {
			t.Fatalf("option 57 = %d: %v", size, err)
		}
		if n := len(reply.ToBytes()); n > limit {
			t.Errorf("option 57 = %d: answer of %d bytes; want at most %d", size, n, limit)
		}
		if reply.BootFileName != file {
			t.Errorf("option 57 = %d: boot file %q was lost", size, reply.BootFileName)
		}
	}
}

func TestRouteFollowsRFC2131(t *testing.T) {
	card := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	address, relay := net.IPv4(10, 77, 0, 9), net.IPv4(10, 77, 0, 3)
	for _, c := range []struct {
		story string
		reply dhcpv4.DHCPv4
		to    string
		frame bool
	}{
		{"relayed", dhcpv4.DHCPv4{GatewayIPAddr: relay, YourIPAddr: address}, "10.77.0.3:67", false},
		{"renewed", dhcpv4.DHCPv4{ClientIPAddr: address, YourIPAddr: address}, "10.77.0.9:68", false},
		{"asks for broadcast", dhcpv4.DHCPv4{YourIPAddr: address, Flags: 0x8000}, "255.255.255.255:68", false},
		{"has no address yet", dhcpv4.DHCPv4{YourIPAddr: address}, "10.77.0.9:68", true},
		{"refused", dhcpv4.DHCPv4{ClientIPAddr: address, Options: dhcpv4.Options{53: {6}}}, "255.255.255.255:68", false},
	} {
		c.reply.ClientHWAddr = card
		got := routeOf(&dhcpv4.DHCPv4{}, &c.reply, arrival{port: serverPort})
		if got.to.String() != c.to || (got.frame != nil) != c.frame {
			t.Errorf("%s: routeOf = %v; want %s, frame %v", c.story, got, c.to, c.frame)
		}
	}
}

// TestSizeIsThatOnTheWire: what fit reckons with, also for options in parts.
func TestSizeIsThatOnTheWire(t *testing.T) {
	m := &dhcpv4.DHCPv4{Options: dhcpv4.Options{}}
	for _, n := range []int{0, 1, 100, 254, 255, 256, 600} {
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(100+n%7), make([]byte, n)))
		if got, want := size(m), len(m.ToBytes()); got != want {
			t.Errorf("size with an option of %d bytes = %d; want %d", n, got, want)
		}
	}
}
