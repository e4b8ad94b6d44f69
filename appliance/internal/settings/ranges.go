package settings

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"swarmboot/bootserver"
)

// maxRange bounds what one entry may stand for: more is a slip of the keyboard.
const maxRange = 4096

// ExpandName gives the names of a range such as r1-n[01-40] or r[1,3-4]-n[1-8].
// Numbers are as wide as the first of their range is written. A name without
// brackets is itself.
func ExpandName(text string) ([]string, error) {
	names := []string{""}
	for text != "" {
		plain, rest, bracket := strings.Cut(text, "[")
		if strings.Contains(plain, "]") {
			return nil, fmt.Errorf("%q closes a bracket that is not open", text)
		}
		parts := []string{""}
		if bracket {
			inside, after, closed := strings.Cut(rest, "]")
			if !closed {
				return nil, fmt.Errorf("%q opens a bracket and does not close it", text)
			}
			var err error
			if parts, err = numbers(inside); err != nil {
				return nil, err
			}
			text = after
		} else {
			text = ""
		}
		if len(names)*len(parts) > maxRange {
			return nil, fmt.Errorf("is more than %d names", maxRange)
		}
		var longer []string
		for _, name := range names {
			for _, part := range parts {
				longer = append(longer, name+plain+part)
			}
		}
		names = longer
	}
	return names, nil
}

// numbers gives those of a list such as 1,3,08-12.
func numbers(list string) ([]string, error) {
	var all []string
	for item := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(item, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 31)
		last, err2 := strconv.ParseUint(to, 10, 31)
		switch {
		case err1 != nil || err2 != nil:
			return nil, fmt.Errorf("[%s] is no range of numbers; want one such as [01-40]", list)
		case last < first:
			return nil, fmt.Errorf("[%s] ends before it begins", list)
		case last-first >= maxRange || len(all) >= maxRange:
			return nil, fmt.Errorf("is more than %d names", maxRange)
		}
		for n := first; n <= last; n++ {
			all = append(all, fmt.Sprintf("%0*d", len(from), n))
		}
	}
	return all, nil
}

// parseMACs reads one MAC address, or FIRST-LAST.
func parseMACs(text string) (any, error) {
	if mac, err := parseMAC(text); err == nil {
		return []net.HardwareAddr{mac.(net.HardwareAddr)}, nil
	}
	// A dash may stand inside an address too: try each.
	for i := range text {
		if text[i] != '-' {
			continue
		}
		first, err1 := parseMAC(strings.TrimSpace(text[:i]))
		last, err2 := parseMAC(strings.TrimSpace(text[i+1:]))
		if err1 == nil && err2 == nil {
			return macRange(first.(net.HardwareAddr), last.(net.HardwareAddr))
		}
	}
	_, err := parseMAC(text)
	return nil, err
}

func macRange(first, last net.HardwareAddr) ([]net.HardwareAddr, error) {
	number := func(mac net.HardwareAddr) uint64 { return binary.BigEndian.Uint64(append([]byte{0, 0}, mac...)) }
	from, to := number(first), number(last)
	if err := countable(from, to); err != nil {
		return nil, err
	}
	var all []net.HardwareAddr
	for n := from; n <= to; n++ {
		all = append(all, net.HardwareAddr(binary.BigEndian.AppendUint64(nil, n)[2:]))
	}
	return all, nil
}

// parseAddrs reads one IPv4 address, or FIRST-LAST.
func parseAddrs(text string) (any, error) {
	if !strings.Contains(text, "-") {
		addr, err := parseAddr(text)
		if err != nil {
			return nil, err
		}
		return []netip.Addr{addr.(netip.Addr)}, nil
	}
	parsed, err := parseRange(text)
	if err != nil {
		return nil, err
	}
	r := parsed.(bootserver.Range)
	if err := countable(uint64(toNumber(r.First)), uint64(toNumber(r.Last))); err != nil {
		return nil, err
	}
	all := []netip.Addr{r.First}
	for all[len(all)-1] != r.Last {
		all = append(all, all[len(all)-1].Next())
	}
	return all, nil
}

// parseAddrs6 reads one IPv6 address, or FIRST-LAST.
func parseAddrs6(text string) (any, error) {
	if !strings.Contains(text, "-") {
		addr, err := netip.ParseAddr(text)
		if err != nil || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" {
			return nil, fmt.Errorf("%q is no IPv6 address; want one such as fd77::11", text)
		}
		return Addresses6{addr}, nil
	}
	parsed, err := parseRange6(text)
	if err != nil {
		return nil, err
	}
	r := parsed.(Range6).Range
	all := Addresses6{r.First}
	for all[len(all)-1] != r.Last {
		if len(all) == maxRange {
			return nil, fmt.Errorf("is more than %d addresses", maxRange)
		}
		all = append(all, all[len(all)-1].Next())
	}
	return all, nil
}

func countable(from, to uint64) error {
	switch {
	case to < from:
		return errors.New("ends before it begins")
	case to-from >= maxRange:
		return fmt.Errorf("is more than %d addresses", maxRange)
	}
	return nil
}

func toNumber(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
