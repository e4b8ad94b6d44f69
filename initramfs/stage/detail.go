package stage

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// A Detail is for who looks at one machine: too much to be told every second.
type Detail struct {
	Have    []byte   `json:"have,omitempty"`    // BitMap of the pieces that are here; empty once all are
	Peers   []Peer   `json:"peers,omitempty"`   // whom it has a connection with
	Console []string `json:"console,omitempty"` // the end of its kernel's log, the last line last; only until it is ready
}

// A Peer is one with whom a machine exchanges pieces, and how many bytes of them.
type Peer struct {
	Address  netip.Addr `json:"address"`
	Server   bool       `json:"server,omitempty"` // the boot server's seeder
	Far      bool       `json:"far,omitempty"`    // a machine in another rack
	Received int64      `json:"received"`         // bytes, since the connection began
	Sent     int64      `json:"sent"`             // bytes, likewise
	Down     int64      `json:"down"`             // bytes a second, received of late
	Up       int64      `json:"up"`               // bytes a second, sent of late
}

// BitMap has a bit for each of count pieces, the first piece the highest bit of
// the first byte (BEP 3).
func BitMap(count int, has func(piece int) bool) []byte {
	bits := make([]byte, (count+7)/8)
	for piece := range count {
		if has(piece) {
			bits[piece/8] |= 0x80 >> (piece % 8)
		}
	}
	return bits
}

// MaxPeers bounds the peers of a Detail: as many as a machine lets in.
const MaxPeers = 100

// maxConsole bounds its console, in bytes.
const maxConsole = 4 << 10

func (d Detail) check(pieces int) error {
	console := strings.Join(d.Console, "\n")
	switch {
	case len(d.Have) > (pieces+7)/8:
		return fmt.Errorf("report: a map of %d bytes for %d pieces", len(d.Have), pieces)
	case len(d.Peers) > MaxPeers:
		return fmt.Errorf("report: %d peers; at most %d are read", len(d.Peers), MaxPeers)
	case len(console) > maxConsole:
		return fmt.Errorf("report: console of %d bytes; at most %d are read", len(console), maxConsole)
	case strings.ContainsFunc(strings.Join(d.Console, ""), unicode.IsControl):
		return fmt.Errorf("report: console with control characters") // they would be obeyed by the admin's terminal
	}
	for _, p := range d.Peers {
		if !p.Address.IsValid() || min(p.Received, p.Sent, p.Down, p.Up) < 0 {
			return fmt.Errorf("report: peer %+v", p)
		}
	}
	return nil
}

// Console is the end of the kernel's log on this computer: what a screen shows of
// a boot, init's words among it, until the image's own log begins, without what the
// kernel says of its arguments. It is nil for who may not read it.
func Console() []string {
	log := make([]byte, maxConsole)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	if err != nil {
		return nil
	}
	return consoleLines(string(log[:n]))
}

// priority is what the kernel puts before each line.
var priority = regexp.MustCompile(`^<[0-9]+>`)

// secret is in lines that repeat the kernel's arguments: the token is among them, and
// what the admin has put there.
var secret = regexp.MustCompile(`(?i)command line|swarmboot\.token=|ds=nocloud`)

func consoleLines(log string) []string {
	var lines []string
	for line := range strings.Lines(log) {
		if secret.MatchString(line) {
			continue
		}
		line = priority.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		lines = append(lines, strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == unicode.ReplacementChar {
				return ' '
			}
			return r
		}, line))
	}
	return lines
}
