package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"swarmboot/bootserver"
	"swarmboot/images"
)

// scalars read the single values of the file, one parser for each type.
var scalars = map[reflect.Type]func(text string) (any, error){
	reflect.TypeFor[string]():            parseText,
	reflect.TypeFor[bool]():              parseBool,
	reflect.TypeFor[uint16]():            parsePort,
	reflect.TypeFor[time.Duration]():     parseDuration,
	reflect.TypeFor[[]string]():          func(text string) (any, error) { return strings.Fields(text), nil },
	reflect.TypeFor[net.HardwareAddr]():  parseMAC,
	reflect.TypeFor[netip.Addr]():        parseAddr,
	reflect.TypeFor[netip.Prefix]():      parsePrefix,
	reflect.TypeFor[bootserver.Range]():  parsePool,
	reflect.TypeFor[images.Ref]():        func(text string) (any, error) { return images.ParseRef(text) },
	reflect.TypeFor[bootserver.Policy](): parsePolicy,
}

func parseText(text string) (any, error) {
	if text == "" {
		return nil, errors.New("is empty; give a value, or leave the setting out")
	}
	return text, nil
}

func parseBool(text string) (any, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return nil, fmt.Errorf("%q is neither true nor false", text)
}

func parsePort(text string) (any, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q is no port; want a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

func parseDuration(text string) (any, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no duration; want one such as 24h or 90m", text)
	}
	return d, nil
}

func parseMAC(text string) (any, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%q is no MAC address; want six hex bytes such as 52:54:00:12:34:56", text)
	}
	if mac[0]&1 != 0 {
		return nil, fmt.Errorf("%s is a group address; want that of one network card", mac)
	}
	return mac, nil
}

func parseAddr(text string) (any, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return nil, fmt.Errorf("%q is no IPv4 address; want one such as 10.77.0.11", text)
	}
	return addr, nil
}

func parsePrefix(text string) (any, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is4() {
		return nil, fmt.Errorf("%q is no IPv4 address with its network; want one such as 10.77.0.1/24", text)
	}
	return prefix, nil
}

func parsePool(text string) (any, error) {
	from, to, _ := strings.Cut(text, "-")
	first, err1 := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	if err1 != nil || err2 != nil || !first.Is4() || !last.Is4() {
		return nil, fmt.Errorf("%q is no range of IPv4 addresses; want one such as 10.77.0.100-10.77.0.199", text)
	}
	if last.Less(first) {
		return nil, fmt.Errorf("%q ends before it begins", text)
	}
	return bootserver.Range{First: first, Last: last}, nil
}

func parsePolicy(text string) (any, error) {
	switch p := bootserver.Policy(text); p {
	case bootserver.Deny, bootserver.Default:
		return p, nil
	}
	return nil, fmt.Errorf("%q is no policy; want deny or default", text)
}
