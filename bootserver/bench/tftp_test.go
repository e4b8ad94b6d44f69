package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	crowd     = 64      // machines at once
	fileSize  = 4 << 20 // of a large loader
	fileName  = "bench.bin"
	blockSize = 1428 // what iPXE's and many ROMs' clients ask for
	oneInLost = 1000
)

// tftpServer starts a TFTP server on a folder of files.
type tftpServer struct {
	name  string
	start func(dir string) *server
}

func (b *bench) tftpServers() []tftpServer {
	const at = "10.88.0.1"
	return []tftpServer{
		{"swarmboot", func(dir string) *server { return b.swarmboot(dir, "udp:69") }},
		{"tftpd-hpa", func(dir string) *server {
			return b.wire.start(dir, "udp:69", "in.tftpd", "--foreground", "--user", "root", "--address", at+":69", "--secure", b.loaders)
		}},
		{"atftpd", func(dir string) *server {
			return b.wire.start(dir, "udp:69", "atftpd", "--daemon", "--no-fork", "--user", "root", "--group", "root", "--bind-address", at, "--maxthread", "256", "--logfile", "-", b.loaders)
		}},
		{"dnsmasq", func(dir string) *server {
			return b.wire.start(dir, "udp:69", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
				"--interface="+serverEnd, "--bind-interfaces", "--pid-file="+filepath.Join(dir, "pid"), "--log-facility="+filepath.Join(dir, "dnsmasq.log"),
				"--enable-tftp", "--tftp-root="+b.loaders, "--tftp-max=256")
		}},
	}
}

// tftp runs all loads on one server after the other.
func (b *bench) tftp() {
	for range rounds {
		for _, d := range b.tftpServers() {
			b.with(d.start, func(s *server) {
				b.transfers("1 machine", d.name, s, 1, 12)
				b.transfers("64 machines", d.name, s, crowd, 1)
				took, err := b.fetch(0, oneInLost)
				if err != nil {
					b.t.Errorf("%s with losses: %v", d.name, err)
				}
				b.add("TFTP", "4 MiB when 1 packet in 1,000 is lost", d.name, "s", took.Seconds())
			})
		}
	}
}

// transfers has so many machines fetch the file so many times each.
func (b *bench) transfers(what, name string, s *server, machines, times int) {
	b.t.Helper()
	before, fragments, begun := s.cpu(), b.wire.fragments(), time.Now()
	errs := make([]error, machines)
	var wg sync.WaitGroup
	for i := range machines {
		wg.Go(func() {
			for range times {
				if _, err := b.fetch(i, 0); err != nil {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.t.Errorf("%s, %s: %v", name, what, err)
	}
	mb := float64(machines*times) * fileSize / 1e6
	b.add("TFTP", "CPU per MB, "+what, name, "ms", 1e3*(s.cpu()-before)/mb)
	b.add("TFTP", "rate, "+what, name, "MB/s", mb/time.Since(begun).Seconds())
	b.add("TFTP", "IP fragments, "+what, name, "", float64(b.wire.fragments()-fragments))
}

// TFTP's packets (RFC 1350, RFC 2347).
const (
	opRead = 1 + iota
	opWrite
	opData
	opAck
	opError
	opOptions
)

// fetch reads the file as the i-th machine, in blocks of 1428 bytes, and does
// not see one data packet in lost (0: sees all). Like a ROM it says again after
// a second what it has, and gives up after ten.
func (b *bench) fetch(i, lost int) (time.Duration, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(clientAddress(i), 0)))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	begun := time.Now()
	say := fmt.Appendf(nil, "\x00%c%s\x00octet\x00blksize\x00%d\x00", opRead, fileName, blockSize)
	to := netip.AddrPortFrom(serverAddr, 69)
	var block uint16
	seen, quiet := 0, 0
	hash, size := sha256.New(), 0
	buf := make([]byte, 4+blockSize+1)
	for {
		if say != nil {
			if _, err := conn.WriteToUDPAddrPort(say, to); err != nil {
				return 0, err
			}
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if quiet++; quiet == 10 {
				return 0, fmt.Errorf("machine %d: no answer after block %d", i, block)
			}
			say = ackOr(block, say)
			continue
		case err != nil:
			return 0, err
		case n < 4:
			return 0, fmt.Errorf("a packet of %d bytes", n)
		}
		quiet = 0
		switch op, number := binary.BigEndian.Uint16(buf), binary.BigEndian.Uint16(buf[2:]); {
		case op == opError:
			return 0, fmt.Errorf("refused: %q", buf[4:n])
		case op == opOptions:
			to, say = from, ack(0)
		case op == opData && n > 4+blockSize:
			return 0, fmt.Errorf("block %d has %d bytes", number, n-4)
		case op == opData:
			if seen++; lost > 0 && seen%lost == 0 {
				say = nil // nothing has come
				continue
			}
			if number != block+1 {
				say = nil // again what is here already
				continue
			}
			to, block = from, number
			hash.Write(buf[4:n])
			size += n - 4
			say = ack(block)
			if n < 4+blockSize {
				conn.WriteToUDPAddrPort(say, to)
				if size != fileSize || !bytes.Equal(hash.Sum(nil), b.sum) {
					return 0, fmt.Errorf("%d bytes, and not those of the file", size)
				}
				return time.Since(begun), nil
			}
		}
	}
}

func ack(block uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, opAck}, block)
}

// ackOr is what is said again after silence: the request, until there is a
// block to acknowledge.
func ackOr(block uint16, said []byte) []byte {
	if block == 0 && said != nil {
		return said
	}
	return ack(block)
}
