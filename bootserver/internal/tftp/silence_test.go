package tftp

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Whoever forges a machine's address and asks for a file makes this server send to
// that machine. Until the machine has acknowledged something, that is one packet,
// a few times.
func TestNothingFollowsAnUnacknowledgedPacket(t *testing.T) {
	t.Parallel() // it takes as long as the server has patience
	ended := make(lines, 100)
	address, _ := startWith(t, noise(100_000), slog.New(slog.NewTextHandler(ended, nil)))
	server := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))

	requests := map[string]rom{
		"\x00\x01snponly.efi\x00octet\x00":                    newROM(t), // answered with the first block
		"\x00\x01snponly.efi\x00octet\x00blksize\x001468\x00": newROM(t), // with an OACK
	}
	for request, rom := range requests {
		rom.SetDeadline(time.Time{})
		if _, err := rom.WriteToUDP([]byte(request), server); err != nil {
			t.Fatal(err)
		}
	}
	for range requests {
		select {
		case line := <-ended:
			if !strings.Contains(line, "loader was not sent") {
				t.Errorf("the server logs %s", line)
			}
		case <-t.Context().Done():
			t.Fatal("the server goes on and on")
		}
	}
	for request, rom := range requests {
		const end = "all that came before"
		if _, err := rom.WriteToUDP([]byte(end), rom.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
		first, _ := rom.next()
		sent := 1
		for again, _ := rom.next(); again != end; again, _ = rom.next() {
			if strings.HasPrefix(again, "\x00\x05") { // at last a short word that it gives up
				continue
			}
			if sent++; again != first {
				t.Errorf("%q is answered with %.8q, and then with %.8q", request, first, again)
			}
		}
		if sent > 1+retries {
			t.Errorf("%q is answered with %d packets; want at most %d", request, sent, 1+retries)
		}
	}
}

// lines is a log that somebody reads line by line.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}
