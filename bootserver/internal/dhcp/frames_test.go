package dhcp

import (
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

func TestFilterLetsRepliesIn(t *testing.T) {
	packet := func(from, to uint16) []byte {
		return datagram{netip.AddrPortFrom(address(2), from), netip.AddrPortFrom(everyone.Addr(), to), []byte("payload")}.packet()
	}
	fragment, tcp := packet(67, 68), packet(67, 68)
	fragment[7], tcp[9] = 1, 6
	for _, c := range []struct {
		story     string
		packet    []byte
		tap, want bool
	}{
		{"a reply", packet(67, 68), false, true},
		{"a reply, with tap", packet(67, 68), true, true},
		{"a request", packet(68, 67), false, false},
		{"a request, with tap", packet(68, 67), true, true},
		{"TFTP", packet(2000, 69), true, false},
		{"a later fragment", fragment, true, false},
		{"TCP", tcp, true, false},
	} {
		raw, err := frameFilter(c.tap)
		if err != nil {
			t.Fatal(err)
		}
		program, ok := bpf.Disassemble(raw)
		if !ok {
			t.Fatal("filter cannot be disassembled")
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := vm.Run(c.packet); err != nil || (n > 0) != c.want {
			t.Errorf("%s: filter takes %d bytes, %v; want in: %v", c.story, n, err, c.want)
		}
	}
}

func TestDatagramChecksums(t *testing.T) {
	b := datagram{netip.MustParseAddrPort("10.77.0.1:67"), netip.MustParseAddrPort("10.77.0.9:68"), []byte("odd")}.packet()
	if sum := checksum(0, b[:20]); sum != 0 {
		t.Errorf("IP header sums to %#x; want 0", sum)
	}
	pseudo := append(append([]byte{}, b[12:20]...), 0, 17, 0, byte(len(b)-20))
	if sum := checksum(0, append(pseudo, b[20:]...)); sum != 0 {
		t.Errorf("UDP datagram sums to %#x; want 0", sum)
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add(datagram{netip.MustParseAddrPort("10.77.0.1:67"), netip.MustParseAddrPort("10.77.0.9:68"), []byte("payload")}.packet())
	f.Add([]byte{0x4f, 0, 0, 20})
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, ok := parseDatagram(data); ok && len(d.payload) > len(data)-28 {
			t.Errorf("payload of %d bytes in a packet of %d", len(d.payload), len(data))
		}
		arpSender(data)
	})
}
