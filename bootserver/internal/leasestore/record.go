package leasestore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"time"
)

// A record is a lease as it stands in the file, under its address: the number of
// the format, the MAC, the end in nanoseconds since 1970, the pool, and a CRC-32 of
// all that and the address, for bbolt has none. In this form three times as many
// stand on a page as in JSON, and a hall of machines writes fewer pages.

const (
	format     = 1
	macAt      = 1
	expiresAt  = macAt + 6
	poolAt     = expiresAt + 8
	recordTail = 4 // the CRC-32
)

func record(key []byte, l Lease) []byte {
	b := make([]byte, 0, poolAt+len(l.Pool)+recordTail)
	b = append(append(b, format), l.MAC[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Expires.UnixNano()))
	b = append(b, l.Pool...)
	return binary.BigEndian.AppendUint32(b, checksum(key, b))
}

func checksum(key, record []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(key), crc32.IEEETable, record)
}

func parse(key, value []byte) (Lease, error) {
	address, ok := netip.AddrFromSlice(key)
	if !ok {
		return Lease{}, fmt.Errorf("lease of %x: want an IPv4 or IPv6 address", key)
	}
	if len(value) > 0 && value[0] == '{' {
		return parseJSON(address, value)
	}
	end := len(value) - recordTail
	if end < poolAt || value[0] != format || binary.BigEndian.Uint32(value[end:]) != checksum(key, value[:end]) {
		return Lease{}, fmt.Errorf("lease of %s: %x is no record, or a damaged one", address, value)
	}
	expires := time.Unix(0, int64(binary.BigEndian.Uint64(value[expiresAt:])))
	return Lease{Pool: string(value[poolAt:end]), Address: address, MAC: [6]byte(value[macAt:]), Expires: expires}, nil
}

// parseJSON reads what earlier versions have written.
func parseJSON(address netip.Addr, value []byte) (Lease, error) {
	var r struct {
		Pool    string    `json:"pool"`
		MAC     string    `json:"mac"`
		Expires time.Time `json:"expires"`
	}
	if err := json.Unmarshal(value, &r); err != nil {
		return Lease{}, fmt.Errorf("lease of %s: %w", address, err)
	}
	mac, err := net.ParseMAC(r.MAC)
	if err != nil || len(mac) != 6 {
		return Lease{}, fmt.Errorf("lease of %s: %q is no MAC address", address, r.MAC)
	}
	return Lease{Pool: r.Pool, Address: address, MAC: [6]byte(mac), Expires: r.Expires}, nil
}
