package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/pin/tftp/v3"
)

// start serves content as some loaders on loopback.
func start(t *testing.T, content []byte) (address string, loading chan string) {
	t.Helper()
	return startWith(t, content, slog.New(slog.DiscardHandler))
}

func startWith(t *testing.T, content []byte, log *slog.Logger) (address string, loading chan string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"snponly.efi", "shimx64.efi", "grubx64.efi"} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "passwd")); err != nil {
		t.Fatal(err)
	}
	loading = make(chan string, 16)
	made := func(server netip.Addr, name string) ([]byte, bool) {
		return []byte("made at " + server.String()), name == "grub/grub.cfg"
	}
	s, err := New(Config{Dir: dir, Make: made, Log: log, Loading: func(machine netip.Addr, file string) {
		loading <- machine.String() + " " + file
	}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v after a requested stop", err)
		}
	})
	return conn.LocalAddr().String(), loading
}

func noise(n int) []byte {
	random := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	random.Read(b)
	return b
}

func TestFileArrivesWhole(t *testing.T) {
	for _, size := range []int{0, 1, 1467, 1468, 1469, 300_000} {
		content := noise(size)
		address, loading := start(t, content)
		c, err := client.NewClient(address)
		if err != nil {
			t.Fatal(err)
		}
		c.SetBlockSize(8192)
		c.RequestTSize(true)
		r, err := c.Receive("snponly.efi", "octet")
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := r.(client.IncomingTransfer).Size(); size > 0 && (!ok || n != int64(size)) {
			t.Errorf("tsize = %d, %v; want %d", n, ok, size)
		}
		var got bytes.Buffer
		if _, err := r.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), content) {
			t.Errorf("read %d bytes, %v; want the %d bytes of the file", got.Len(), err, size)
		}
		if got := <-loading; got != "127.0.0.1 snponly.efi" {
			t.Errorf("loading = %q", got)
		}
	}
}

func TestUnknownNamesAreNotFound(t *testing.T) {
	address, _ := start(t, noise(10))
	c, err := client.NewClient(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"autoexec.ipxe", "../snponly.efi", "passwd", "", "."} {
		if _, err := c.Receive(name, "octet"); err == nil || !strings.Contains(err.Error(), "file not found") {
			t.Errorf("Receive(%q) = %v; want file not found", name, err)
		}
	}
	if _, err := c.Send("new", "octet"); err == nil {
		t.Error("a write request was accepted; want it refused")
	}
}

// UEFI asks with tsize, aborts after the OACK, and asks again without it from
// another port.
func TestUEFIProbesTheSize(t *testing.T) {
	content := noise(3000)
	address, _ := start(t, content)
	server := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))

	probe := newROM(t)
	oack, from := probe.exchange("\x00\x01snponly.efi\x00octet\x00tsize\x000\x00blksize\x001468\x00windowsize\x004\x00", server)
	if !strings.HasPrefix(oack, "\x00\x06") || !strings.Contains(oack, "tsize\x003000\x00") || !strings.Contains(oack, "blksize\x001468\x00") || strings.Contains(oack, "windowsize") {
		t.Fatalf("answer = %q; want an OACK of tsize 3000 and blksize 1468 alone", oack)
	}
	probe.exchange("\x00\x05\x00\x08User aborted the transfer\x00", from)

	for _, fetch := range []rom{newROM(t), probe} { // and firmware that keeps its port
		oack, from = fetch.exchange("\x00\x01snponly.efi\x00octet\x00blksize\x001468\x00", server)
		if strings.HasPrefix(oack, "\x00\x05") { // what the library says to an abort
			oack, from = fetch.next()
		}
		if oack != "\x00\x06blksize\x001468\x00" {
			t.Fatalf("answer = %q; want an OACK of blksize", oack)
		}
		if got := fetch.rest(from, len(content)); !bytes.Equal(got, content) {
			t.Errorf("read %d bytes; want the %d of the file", len(got), len(content))
		}
		if fetch != probe {
			_, from = probe.exchange("\x00\x01snponly.efi\x00octet\x00tsize\x000\x00", server)
			probe.WriteToUDP([]byte("\x00\x05\x00\x08User aborted the transfer\x00"), from)
		}
	}
}

// RFC 1350 section 4: a port stands for one transfer. A request that was repeated,
// or that the network has doubled, starts no second one.
func TestRepeatedRequestIsServedOnce(t *testing.T) {
	content := noise(3000)
	log := make(lines, 100)
	var loading chan string
	t.Run("transfer", func(t *testing.T) {
		var address string
		address, loading = startWith(t, content, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		server := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
		const request = "\x00\x01snponly.efi\x00octet\x00blksize\x001468\x00"
		rom := newROM(t)
		for range 3 {
			rom.WriteToUDP([]byte(request), server)
		}
		_, from := rom.exchange(request, server)
		// All have arrived when two are ignored: the third waits for an abort.
		for ignored := 0; ignored < 2; {
			select {
			case line := <-log:
				if strings.Contains(line, "repeated request ignored") {
					ignored++
				}
			case <-time.After(time.Minute):
				t.Fatal("repeated requests are not ignored")
			}
		}
		if got := rom.rest(from, len(content)); !bytes.Equal(got, content) {
			t.Errorf("read %d bytes; want the %d of the file", len(got), len(content))
		}
	}) // here the server has ended, and all it had to do with it
	if len(loading) != 1 {
		t.Errorf("four requests from one port have started %d transfers; want 1", len(loading))
	}
}

// rom is a client that sends what the test says, byte for byte.
type rom struct {
	*testing.T
	*net.UDPConn
}

func newROM(t *testing.T) rom {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute)) // for a hang
	return rom{t, conn}
}

// rest fetches size bytes, which begin after an OACK.
func (r rom) rest(from *net.UDPAddr, size int) (got []byte) {
	r.Helper()
	for block := uint16(0); ; block++ {
		ack := "\x00\x04" + string(binary.BigEndian.AppendUint16(nil, block))
		if len(got) >= size {
			r.WriteToUDP([]byte(ack), from)
			return got
		}
		data, at := r.exchange(ack, from)
		for strings.HasPrefix(data, "\x00\x06") { // it was late, and has come again
			data, at = r.next()
		}
		if at.Port != from.Port {
			r.Fatalf("a second transfer sends %.4q", data)
		}
		got = append(got, data[4:]...)
	}
}

func (r rom) exchange(packet string, to *net.UDPAddr) (answer string, from *net.UDPAddr) {
	r.Helper()
	if _, err := r.WriteToUDP([]byte(packet), to); err != nil {
		r.Fatal(err)
	}
	return r.next()
}

func (r rom) next() (packet string, from *net.UDPAddr) {
	r.Helper()
	buf := make([]byte, 2000)
	n, from, err := r.ReadFromUDP(buf)
	if err != nil {
		r.Fatal(err)
	}
	return string(buf[:n]), from
}

func TestClean(t *testing.T) {
	for name, want := range map[string]string{
		"snponly.efi": "snponly.efi", "/snponly.efi": "snponly.efi", `\\snponly.efi`: "snponly.efi", "./snponly.efi": "snponly.efi",
		"undionly.kpxe\xff\xff": "undionly.kpxe", "undionly.kpxe\x00junk": "undionly.kpxe",
		"../etc/shadow": "", `a\..\..\b`: "", "a/../b": "",
	} {
		if got := clean(name); got != want {
			t.Errorf("clean(%q) = %q; want %q", name, got, want)
		}
	}
}

// What is no file is made for the address that was asked, however the name is
// written.
func TestNamesMadeOnTheFly(t *testing.T) {
	address, _ := start(t, noise(10))
	c, err := client.NewClient(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/grub/grub.cfg", `grub\grub.cfg`, "grub//grub.cfg"} {
		r, err := c.Receive(name, "octet")
		if err != nil {
			t.Fatalf("Receive(%q): %v", name, err)
		}
		var got bytes.Buffer
		if _, err := r.WriteTo(&got); err != nil || got.String() != "made at 127.0.0.1" {
			t.Errorf("Receive(%q) = %q, %v", name, got.String(), err)
		}
	}
}

// RFC 2347: an option that was not asked for is not answered; then the first
// block comes at once, of 512 bytes.
func TestPlainRequestGetsPlainBlocks(t *testing.T) {
	address, _ := start(t, noise(3000))
	rom := newROM(t)
	data, from := rom.exchange("\x00\x01snponly.efi\x00octet\x00", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if !strings.HasPrefix(data, "\x00\x03\x00\x01") || len(data) != 4+512 {
		t.Errorf("answer of %d bytes begins %.4q; want block 1 of 512 bytes", len(data), data)
	}
	rom.WriteToUDP([]byte("\x00\x05\x00\x00enough\x00"), from)
}

// RFC 2348: what is granted fits one Ethernet frame, whatever was asked for.
func TestBlocksFitAFrame(t *testing.T) {
	address, _ := start(t, noise(3000))
	for asked, granted := range map[string]string{"512": "512", "1428": "1428", "8192": "1468", "65464": "1468"} {
		rom := newROM(t)
		oack, from := rom.exchange("\x00\x01snponly.efi\x00octet\x00blksize\x00"+asked+"\x00", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		if oack != "\x00\x06blksize\x00"+granted+"\x00" {
			t.Errorf("blksize %s: answer %q; want %s", asked, oack, granted)
		}
		rom.WriteToUDP([]byte("\x00\x05\x00\x00enough\x00"), from)
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"snponly.efi", `\\a\b`, "../x", "a\x00b", "\xff", "/grub/x86_64-efi/command.lst", "a?mac=52:54:00:77:00:01&x=%2e%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := clean(name)
		if strings.HasPrefix(got, "/") || strings.Contains(got, "\x00") || strings.Contains(got, "\xff") || strings.Contains(got, `\`) || got == ".." || strings.HasPrefix(got, "../") {
			t.Errorf("clean(%q) = %q leads outside", name, got)
		}
		if got != "" && clean(got) != got {
			t.Errorf("clean(%q) = %q is not clean", name, got)
		}
	})
}

func TestOneMachineCannotTakeAllTransfers(t *testing.T) {
	s := &Server{running: map[netip.Addr]int{}}
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for range maxPerMachine {
		if !s.admit(a) {
			t.Fatal("transfer refused below the limit")
		}
	}
	if s.admit(a) {
		t.Error("transfer above the machine's limit was allowed")
	}
	if !s.admit(b) {
		t.Error("another machine was refused")
	}
	s.dismiss(a)
	if !s.admit(a) {
		t.Error("transfer refused after one has ended")
	}
}
