package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"swarmboot/appliance/internal/power"
	"swarmboot/bootserver"
	"swarmboot/bootserver/loaders"
	"swarmboot/initramfs/bootargs"

	"golang.org/x/crypto/ssh"
)

// scalars read the single values of the file, one parser for each type. A list
// that has one may be written as a single value too.
var scalars = map[reflect.Type]func(text string) (any, error){
	reflect.TypeFor[string]():                  parseText,
	reflect.TypeFor[Image]():                   parseText,
	reflect.TypeFor[*bool]():                   parseBool,
	reflect.TypeFor[uint16]():                  parsePort,
	reflect.TypeFor[time.Duration]():           parseDuration,
	reflect.TypeFor[[]string]():                func(text string) (any, error) { return strings.Fields(text), nil },
	reflect.TypeFor[net.HardwareAddr]():        parseMAC,
	reflect.TypeFor[[]net.HardwareAddr]():      parseMACs,
	reflect.TypeFor[netip.Addr]():              parseAddr,
	reflect.TypeFor[[]netip.Addr]():            parseAddrs,
	reflect.TypeFor[netip.AddrPort]():          parseAddrPort,
	reflect.TypeFor[netip.Prefix]():            parsePrefix,
	reflect.TypeFor[bootserver.Range]():        parseRange,
	reflect.TypeFor[Prefix6]():                 parsePrefix6,
	reflect.TypeFor[Network6]():                parseNetwork6,
	reflect.TypeFor[Range6]():                  parseRange6,
	reflect.TypeFor[Addresses6]():              parseAddrs6,
	reflect.TypeFor[bootserver.Route]():        parseRoute,
	reflect.TypeFor[bootserver.Policy]():       oneOf(bootserver.Deny, bootserver.Default, bootserver.Discover),
	reflect.TypeFor[bootserver.Mode]():         oneOf(bootserver.Full, bootserver.Proxy, bootserver.Reservations, bootserver.Off),
	reflect.TypeFor[loaders.Policy]():          oneOf(loaders.GRUB, loaders.SecureBoot, loaders.SNPOnly, loaders.IPXE),
	reflect.TypeFor[SSHKey]():                  parseSSHKey,
	reflect.TypeFor[PartitionName]():           parsePartitionName,
	reflect.TypeFor[DiskName]():                parseDiskName,
	reflect.TypeFor[fs.FileMode]():             parseMode,
	reflect.TypeFor[bootserver.Over]():         oneOf(bootserver.OverVersion, bootserver.OverImage),
	reflect.TypeFor[power.Kind]():              oneOf(power.Kinds...),
	reflect.TypeFor[bootserver.NetworkSetup](): oneOf(bootserver.ImageSetup, bootserver.DHCPSetup),
}

func parseText(text string) (any, error) {
	if text == "" {
		return nil, errors.New("is empty; give a value, or leave the setting out")
	}
	return text, nil
}

func parseBool(text string) (any, error) {
	if text == "true" || text == "false" {
		is := text == "true"
		return &is, nil
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

func parseSSHKey(text string) (any, error) {
	if _, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(text)); err != nil || len(rest) > 0 || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("is no SSH key; want one line as in authorized_keys, such as the text of a file id_ed25519.pub")
	}
	return SSHKey(text), nil
}

// partitionName is one that stands in a sysfs file as it is.
var partitionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$`)

func parsePartitionName(text string) (any, error) {
	if !partitionName.MatchString(text) {
		return nil, fmt.Errorf("%q: want the name of a partition, letters, digits, '.', '_' and '-', 36 at most; 'sgdisk -c 1:NAME /dev/DISK' gives one", text)
	}
	return PartitionName(text), nil
}

func parseDiskName(text string) (any, error) {
	if !bootargs.ValidDisk(text) {
		return nil, fmt.Errorf("%q: want a disk as Linux calls it, such as nvme0n1 or sda; 'lsblk' on the machine lists them", text)
	}
	return DiskName(text), nil
}

func parseMode(text string) (any, error) {
	mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return nil, fmt.Errorf("%q: want permissions such as 0644 or 0600", text)
	}
	return fs.FileMode(mode), nil
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

func parseAddrPort(text string) (any, error) {
	listen, err := netip.ParseAddrPort(text)
	if err != nil || listen.Port() == 0 {
		return nil, fmt.Errorf("%q is no address with a port; want one such as 127.0.0.1:8470, or 0.0.0.0:8470 for all addresses", text)
	}
	return listen, nil
}

func parsePrefix(text string) (any, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is4() {
		return nil, fmt.Errorf("%q is no IPv4 address with its network; want one such as 10.77.0.1/24", text)
	}
	return prefix, nil
}

func parseRange(text string) (any, error) {
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

func parsePrefix6(text string) (any, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is6() || prefix.Addr().Is4In6() || prefix.Addr().IsLinkLocalUnicast() {
		return nil, fmt.Errorf("%q is no IPv6 address with its network; want one such as fd77::1/64", text)
	}
	if prefix.Bits() != 64 || prefix.Addr() == prefix.Masked().Addr() {
		return nil, fmt.Errorf("%q: want the server's own address in a network of 64 bits, such as fd77::1/64", text)
	}
	return Prefix6{prefix}, nil
}

func parseNetwork6(text string) (any, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is6() || prefix.Addr().Is4In6() || prefix.Bits() != 64 || prefix != prefix.Masked() {
		return nil, fmt.Errorf("%q is no IPv6 network of 64 bits; want one such as fd78::/64", text)
	}
	return Network6{prefix}, nil
}

func parseRange6(text string) (any, error) {
	from, to, _ := strings.Cut(text, "-")
	first, err1 := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	if err1 != nil || err2 != nil || !first.Is6() || !last.Is6() || first.Zone()+last.Zone() != "" {
		return nil, fmt.Errorf("%q is no range of IPv6 addresses; want one such as fd77::100-fd77::1ff", text)
	}
	if last.Less(first) {
		return nil, fmt.Errorf("%q ends before it begins", text)
	}
	return Range6{bootserver.Range{First: first, Last: last}}, nil
}

func parseRoute(text string) (any, error) {
	to, via, _ := strings.Cut(text, " via ")
	network, err1 := netip.ParsePrefix(strings.TrimSpace(to))
	router, err2 := netip.ParseAddr(strings.TrimSpace(via))
	if err1 != nil || err2 != nil || !router.Is4() || !network.Addr().Is4() {
		return nil, fmt.Errorf("%q is no route; want one such as 10.80.0.0/16 via 10.77.0.254", text)
	}
	if network != network.Masked() {
		return nil, fmt.Errorf("%v is an address in a network; write the network, %v", network, network.Masked())
	}
	return bootserver.Route{To: network, Via: router}, nil
}

// oneOf reads a word that must be one of some.
func oneOf[T ~string](words ...T) func(string) (any, error) {
	return func(text string) (any, error) {
		if slices.Contains(words, T(text)) {
			return T(text), nil
		}
		texts := make([]string, len(words))
		for i, word := range words {
			texts[i] = string(word)
		}
		last := len(texts) - 1
		return nil, fmt.Errorf("found %q; want %s or %s", text, strings.Join(texts[:last], ", "), texts[last])
	}
}
